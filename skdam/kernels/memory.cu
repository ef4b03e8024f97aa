/* The step of training, in the order of its kernels:
 *
 *   gather          the cues: rows of the data, and the bias neuron
 *   (product)       overlaps x = memories . batch^T
 *   add_offset      the classification units' part of them, for differences of energy
 *   respond         each chunk of memories' part of the scores
 *   combine         the parts, to scores
 *   judge           the objective and its gradient with respect to the scores
 *   differentiate   dC/dx, and dC/dxi_alpha
 *   (product)       dC/dxi_i = dC/dx . batch
 *   move            momentum, step normalised for each memory, clipping
 *
 * Arrays are in C order: x and dC/dx (n_memories, n_samples), scores (n_samples,
 * CLASSES), delta (CLASSES, n_samples). All sums are in a fixed order, so that the same
 * seed gives the same bits.
 *
 * Also set when compiled: CLASSES, their number; CLASS_TILE, how many of them are held
 * in registers; MANY, the share of the samples above which all are followed.
 */

/* What the host sets for an epoch; the kernels read it, so that a recorded graph of
 * them can be replayed with other values. */
#define INVERSE_TEMPERATURE 0
#define ERROR_EXPONENT 1
#define LEARNING_RATE 2
#define LOG_MOMENTUM 3
#define BIAS 4
#define FACTOR_OF_SHOWN 5
#define LARGEST_NOISE 6
#define LOG_TOLERANCE 7

/* The samples are in `rows` of X, and their keys at `numbers`; without keys they are not
 * disturbed. With a bias neuron, n_neurons is n_features + 1. */
extern "C" __global__ void gather(const real *X, const int *rows, const real *settings,
                                  const unsigned *key_and_limit, const unsigned *keys,
                                  const int *numbers, int n_features, int n_neurons,
                                  int n_samples, real *batch) {
    long long place = blockIdx.x * (long long)blockDim.x + threadIdx.x;
    if (place >= (long long)n_samples * n_neurons) return;
    long long sample = place / n_neurons, neuron = place % n_neurons;
    real state = settings[BIAS];
    if (neuron < n_features) {
        state = X[(long long)rows[sample] * n_features + neuron];
        if (keys) {
            unsigned bits = bits_of(keys[numbers[sample]], neuron, key_and_limit[0]);
            state += noise(bits, settings[LARGEST_NOISE]);
            state *= hashed(bits) >= key_and_limit[1] ? settings[FACTOR_OF_SHOWN] : (real)0;
        }
        /* NaN: not known. */
        if (state != state) state = 0;
    }
    batch[place] = state * settings[INVERSE_TEMPERATURE];
}

/* One block for a memory: what the classification units, all at -1, add to overlaps. */
extern "C" __global__ void add_offset(const real *connections, const real *settings,
                                      int n_samples, real *x) {
    long long memory = blockIdx.x;
    real sum = 0;
    for (int alpha = 0; alpha < CLASSES; ++alpha)
        sum += connections[memory * CLASSES + alpha];
    for (int sample = threadIdx.x; sample < n_samples; sample += blockDim.x)
        x[memory * n_samples + sample] -= sum * settings[INVERSE_TEMPERATURE];
}

/* One thread for a sample, a chunk of memories and a tile of classes. */
extern "C" __global__ void respond(const real *x, const real *connections,
                                   const real *settings, int n_memories, int n_samples,
                                   int chunk, real *parts, real *scales) {
    int sample = blockIdx.x * blockDim.x + threadIdx.x;
    if (sample >= n_samples) return;
    int first = blockIdx.y * chunk;
    int last = first + chunk < n_memories ? first + chunk : n_memories;
    int alpha = blockIdx.z * CLASS_TILE;
    int n_classes = CLASSES - alpha < CLASS_TILE ? CLASSES - alpha : CLASS_TILE;
    real inverse_temperature = settings[INVERSE_TEMPERATURE];
    real scale = STEEP ? (real)NONE : (real)0;
    if (STEEP) {
        for (int memory = first; memory < last; ++memory) {
            real overlap = x[(long long)memory * n_samples + sample];
            scale = fmax(scale, size(DIFFERENCE ? lifted(overlap, inverse_temperature)
                                     : overlap));
        }
        if (scale > NONE) scale *= exponent(DIFFERENCE ? 0 : 1);
    }
    real sums[CLASS_TILE];
    for (int k = 0; k < CLASS_TILE; ++k) sums[k] = 0;
    for (int memory = first; memory < last && scale > NONE; ++memory) {
        real overlap = x[(long long)memory * n_samples + sample];
        const real *own = connections + (long long)memory * CLASSES + alpha;
        if (DIFFERENCE) {
#pragma unroll
            for (int k = 0; k < CLASS_TILE; ++k)
                if (k < n_classes)
                    sums[k] += rise(overlap, 2 * own[k] * inverse_temperature, scale);
        } else {
            real active = STEEP ? scaled(overlap, 1, -scale) : activation(overlap);
#pragma unroll
            for (int k = 0; k < CLASS_TILE; ++k)
                if (k < n_classes) sums[k] += own[k] * active;
        }
    }
    real factor = 1;
    if (!DIFFERENCE) factor = 2 * inverse_temperature;
    if (!DIFFERENCE && STEEP && IS_POWER) factor *= (real)POWER;
    for (int k = 0; k < n_classes; ++k)
        parts[((long long)blockIdx.y * CLASSES + alpha + k) * n_samples + sample] =
            sums[k] * factor;
    if (alpha == 0) scales[(long long)blockIdx.y * n_samples + sample] = scale;
}

/* One thread for a sample and a class. */
extern "C" __global__ void combine(const real *parts, const real *scales, int n_chunks,
                                   int n_samples, real room, real *scores) {
    int sample = blockIdx.x * blockDim.x + threadIdx.x;
    int alpha = blockIdx.y;
    if (sample >= n_samples) return;
    real common = NONE;
    for (int chunk = 0; chunk < n_chunks; ++chunk)
        common = fmax(common, scales[(long long)chunk * n_samples + sample]);
    real sum = 0;
    for (int chunk = 0; chunk < n_chunks; ++chunk) {
        real scale = scales[(long long)chunk * n_samples + sample];
        if (scale > NONE)
            sum += parts[((long long)chunk * CLASSES + alpha) * n_samples + sample] *
                   (STEEP ? (real)exp(scale - common) : (real)1);
    }
    /* A scale beyond the range of the type is brought to its edge: the score is then
     * far beyond, or far below, what tanh distinguishes. */
    scores[(long long)sample * CLASSES + alpha] =
        sum * (real)exp(fmin(fmax(common, -room), room));
}

/* A single block. tally: loss, weight, hits. */
extern "C" __global__ void __launch_bounds__(32 * MOST_WARPS) judge(const real *scores, const int *codes,
                                 const double *weights, const int *rows,
                                 const real *settings, int n_samples, real *delta,
                                 real *log_weight, double *common_scale, double *tally) {
    __shared__ double shared[MOST_WARPS];
    real m = settings[ERROR_EXPONENT];
    double loss = 0, weight_sum = 0, hits = 0, responding = 0;
    for (int sample = threadIdx.x; sample < n_samples; sample += blockDim.x) {
        const real *own = scores + (long long)sample * CLASSES;
        int label = codes[rows[sample]], best = 0;
        double weight = weights ? weights[rows[sample]] : 1.0;
        bool responds = false;
        real sum = 0, most = own[0];
        for (int alpha = 0; alpha < CLASSES; ++alpha) {
            responds = responds || own[alpha] != 0;
            if (own[alpha] > own[best]) best = alpha;
            most = fmax(most, own[alpha]);
        }
        real others = 0;
        if (LOSS == 1)
            for (int alpha = 0; alpha < CLASSES; ++alpha) {
                real share = (real)exp(own[alpha] - most);
                sum += share;
                if (alpha != label) others += share;
            }
        real log_sum = (real)log(sum), log_others = (real)log(others);
        real largest = NONE;
        double error = LOSS == 1 ? (double)(log_sum + most - own[label]) : 0.0;
        for (int alpha = 0; alpha < CLASSES; ++alpha) {
            real target = alpha == label ? (real)1 : (real)-1, logarithm;
            if (LOSS == 1) {
                /* 1 - p of the true class is the sum of the others. */
                logarithm = (alpha == label ? log_others : own[alpha] - most) - log_sum;
            } else {
                logarithm = log_slope_of_error(own[alpha], target, m);
                error += exp((double)log_error(own[alpha], target, m));
            }
            delta[(long long)alpha * n_samples + sample] = logarithm;
            largest = fmax(largest, logarithm);
        }
        for (int alpha = 0; alpha < CLASSES; ++alpha) {
            real *entry = delta + (long long)alpha * n_samples + sample;
            real magnitude = (real)exp(*entry - largest);
            *entry = alpha == label ? -magnitude : magnitude;
        }
        /* For now of all samples: below, those are told apart that are not followed. */
        log_weight[sample] = largest;
        loss += error * weight;
        weight_sum += weight;
        responding = responding || responds;
        hits += best == label;
    }
    bool any = block_max(responding, shared) > 0;
    double most = NONE;
    for (int sample = threadIdx.x; sample < n_samples; sample += blockDim.x) {
        const real *own = scores + (long long)sample * CLASSES;
        bool responds = false;
        for (int alpha = 0; alpha < CLASSES; ++alpha)
            responds = responds || own[alpha] != 0;
        /* A sample that no memory responds to has no gradient, whatever its error. */
        if (any && !responds) log_weight[sample] = NONE;
        most = fmax(most, (double)log_weight[sample]);
    }
    real least = (real)block_max(most, shared) + settings[LOG_TOLERANCE];
    double followed = 0, common = NONE;
    for (int sample = threadIdx.x; sample < n_samples; sample += blockDim.x)
        followed += log_weight[sample] >= least;
    if (block_sum(followed, shared) > MANY * n_samples) least = NONE;
    for (int sample = threadIdx.x; sample < n_samples; sample += blockDim.x) {
        if (log_weight[sample] < least) log_weight[sample] = NONE;
        if (weights) log_weight[sample] += (real)log(weights[rows[sample]]);
        common = fmax(common, (double)log_weight[sample]);
    }
    common = block_max(common, shared);
    if (!(common > NONE)) common = 0;
    for (int sample = threadIdx.x; sample < n_samples; sample += blockDim.x) {
        log_weight[sample] -= (real)common;
        real weight = (real)exp(log_weight[sample]);
        if (!STEEP)
            for (int alpha = 0; alpha < CLASSES; ++alpha)
                delta[(long long)alpha * n_samples + sample] *= weight;
    }
    loss = block_sum(loss, shared);
    weight_sum = block_sum(weight_sum, shared);
    hits = block_sum(hits, shared);
    if (threadIdx.x == 0) {
        tally[0] += loss;
        tally[1] += weight_sum;
        tally[2] += hits;
        *common_scale = common;
    }
}

/* One block for a memory. */
extern "C" __global__ void differentiate(const real *x, const real *connections,
                                         const real *delta, const real *log_weight,
                                         const real *settings, int n_samples,
                                         real *d_overlaps, real *d_connections,
                                         real *log_scales) {
    __shared__ double shared[MOST_WARPS];
    long long memory = blockIdx.x;
    const real *overlaps = x + memory * n_samples;
    real *slopes = d_overlaps + memory * n_samples;
    const real *own = connections + memory * CLASSES;
    real inverse_temperature = settings[INVERSE_TEMPERATURE];
    int lowered = DIFFERENCE ? 1 : 2;

    real log_scale = 0;
    if (STEEP) {
        double largest = NONE;
        for (int sample = threadIdx.x; sample < n_samples; sample += blockDim.x) {
            real overlap = overlaps[sample];
            if (DIFFERENCE) overlap = lifted(overlap, inverse_temperature);
            real logarithm = size(overlap);
            if (logarithm > NONE && log_weight[sample] > NONE)
                largest = fmax(largest, (double)(exponent(lowered) * logarithm +
                                                 log_weight[sample]));
        }
        log_scale = (real)block_max(largest, shared);
    }
    if (threadIdx.x == 0) log_scales[memory] = log_scale;
    real shift = log_scale > NONE ? log_scale : (real)0;

    real slopes_of_thread = 0;
    for (int alpha = 0; alpha < CLASSES; alpha += CLASS_TILE) {
        real sums[CLASS_TILE];
        for (int k = 0; k < CLASS_TILE; ++k) sums[k] = 0;
        for (int sample = threadIdx.x; sample < n_samples; sample += blockDim.x) {
            real overlap = overlaps[sample], derivative = 0;
            const real *error = delta + (long long)alpha * n_samples + sample;
            if (DIFFERENCE) {
                real log_factor = STEEP ? log_weight[sample] - shift : (real)0;
                real resting = STEEP ? scaled(overlap, 1, log_factor)
                                     : activation(overlap);
#pragma unroll
                for (int k = 0; k < CLASS_TILE; ++k)
                    if (alpha + k < CLASSES) {
                        real to = overlap + 2 * own[alpha + k] * inverse_temperature;
                        real active = STEEP ? scaled(to, 1, log_factor) : activation(to);
                        real weight = error[(long long)k * n_samples];
                        derivative += weight * (active - resting);
                        sums[k] += 2 * active * weight;
                    }
                if (STEEP && IS_POWER) derivative *= (real)POWER;
            } else {
                real active, steepness;
                if (STEEP) {
                    steepness = scaled(overlap, 2, log_weight[sample] - shift);
                    active = steepness;
                    if (IS_POWER) {
                        active *= (real)POWER * overlap;
                        steepness *= (real)(POWER * (POWER - 1.0));
                    }
                } else {
                    active = activation(overlap);
                    steepness = slope(overlap);
                }
                real coefficient = 0;
#pragma unroll
                for (int k = 0; k < CLASS_TILE; ++k)
                    if (alpha + k < CLASSES) {
                        real weight = error[(long long)k * n_samples];
                        coefficient += own[alpha + k] * weight;
                        sums[k] += active * weight;
                    }
                derivative = 2 * inverse_temperature * coefficient * steepness;
            }
            slopes[sample] = derivative + (alpha > 0 ? slopes[sample] : (real)0);
            slopes_of_thread += derivative;
        }
        for (int k = 0; k < CLASS_TILE && alpha + k < CLASSES; ++k) {
            double factor = DIFFERENCE ? inverse_temperature : 2 * inverse_temperature;
            if (DIFFERENCE && STEEP && IS_POWER) factor *= POWER;
            double sum = factor * block_sum(sums[k], shared);
            if (threadIdx.x == 0) d_connections[memory * CLASSES + alpha + k] = (real)sum;
        }
    }
    if (DIFFERENCE) {
        /* Every xi_gamma also lowers its memory's overlap x. */
        double sum_of_slopes = block_sum(slopes_of_thread, shared);
        __syncthreads();
        for (int alpha = threadIdx.x; alpha < CLASSES; alpha += blockDim.x)
            d_connections[memory * CLASSES + alpha] -=
                (real)(sum_of_slopes * inverse_temperature);
    }
}

/* One block for a memory: V = p V - dC/dxi, carried as V / max |V| and a logarithm. */
extern "C" __global__ void move(const real *gradient, const real *d_connections,
                                const real *log_scales, const double *common_scale,
                                const real *settings, int n_features, real *memories,
                                real *connections, real *velocity,
                                real *connection_velocity, double *velocity_scale) {
    __shared__ double shared[MOST_WARPS];
    long long memory = blockIdx.x;
    double kept = velocity_scale[memory] + settings[LOG_MOMENTUM];
    double added = log_scales[memory] + *common_scale;
    double scale = fmax(kept, added);
    if (!(scale > NONE)) scale = 0;
    real keep = (real)exp(kept - scale), add = (real)exp(added - scale);
    double largest = 0;
    for (int j = threadIdx.x; j < n_features + CLASSES; j += blockDim.x) {
        bool visible = j < n_features;
        real *v = visible ? velocity + memory * n_features + j
                          : connection_velocity + memory * CLASSES + j - n_features;
        real g = visible ? gradient[memory * n_features + j]
                         : d_connections[memory * CLASSES + j - n_features];
        *v = keep * *v - add * g;
        largest = fmax(largest, (double)fabs(*v));
    }
    largest = block_max(largest, shared);
    if (!(largest > 0)) largest = 1;
    real rate = settings[LEARNING_RATE];
    for (int j = threadIdx.x; j < n_features + CLASSES; j += blockDim.x) {
        bool visible = j < n_features;
        real *v = visible ? velocity + memory * n_features + j
                          : connection_velocity + memory * CLASSES + j - n_features;
        real *xi = visible ? memories + memory * n_features + j
                           : connections + memory * CLASSES + j - n_features;
        *v /= (real)largest;
        *xi = fmin(fmax(*xi + rate * *v, (real)-1), (real)1);
    }
    if (threadIdx.x == 0) velocity_scale[memory] = scale + log(largest);
}
