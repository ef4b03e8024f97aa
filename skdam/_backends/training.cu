/* The step of training, in the order of its kernels:
 *
 *   gather         the inputs: rows of the data with their noise, and the intercept
 *   (product)      overlaps x = inputs . memories
 *   forward        scores, and the loss of each sample with its gradient
 *   loss_gradient  which samples are followed, and the scale that they share
 *   backward       -dC/dx, and the velocity of xi_alpha
 *   (product)      the velocity of xi_i, to which inputs^T . -dC/dx is added
 *   apply_update   step normalised for each memory, clipping
 *
 * Arrays are in C order, memories last: memories and velocity (n_units, n_memories),
 * x and dC/dx (n_samples, n_memories), scores and delta (n_samples, CLASSES). All sums
 * are in a fixed order, so that the same seed gives the same bits.
 *
 * The velocity of memory mu is velocity[:, mu] exp(velocity_scales[mu]). Its decay only
 * lowers the scale, to which the gradient is brought in dC/dx. Where the numbers would
 * leave their range, the scale is set anew.
 *
 * Also set when compiled: LOSS, 0 for the power objective and 1 for cross-entropy;
 * CLASSES, their number; CLASS_TILE, how many of them are held in registers; MANY, the
 * share of samples above which all are followed; POOL_SIZE of the random numbers;
 * THREADS and LANES, the threads of a block that goes along memories and how many
 * memories it has; LOG_MAX and TINY, ln of the largest and the smallest normal number.
 */

/* What the host sets for an epoch; the kernels read it, so that a recorded graph of
 * them can be replayed with other values. */
#define INVERSE_TEMPERATURE 0
#define ERROR_EXPONENT 1
#define LEARNING_RATE 2
#define LOG_MOMENTUM 3
#define INTERCEPT 4
#define NOISE 5
#define DROPOUT_BELOW 6
#define DROPOUT_FACTOR 7
#define LOG_TOLERANCE 8
#define INVERSE_UNIT 9

#define GROUPS (THREADS / LANES)

#define HIT 1
#define RESPONDS 2

/* One block for a sample. The data are X[rows], or with `staged` the samples of these
 * numbers in a row; without hashes they get no noise. Inputs behind the intercept are
 * the classification units of the exact update, all at -1, and padding. */
extern "C" __global__ void gather(const real *X, const int *rows, int staged,
                                  const unsigned *hashes, const unsigned *shifts,
                                  const real *pool, const double *settings,
                                  int n_features, int n_visible, int width,
                                  real *inputs) {
    long long place = blockIdx.x, number = rows ? rows[place] : place;
    const real *features = X + (staged ? place : number) * n_features;
    unsigned noise = 0, dropout = 0;
    if (hashes) {
        noise = (hashes[number] + shifts[0]) % POOL_SIZE;
        dropout = (hashes[number] * 0x9e3779b1u + shifts[1]) % POOL_SIZE;
    }
    for (int j = threadIdx.x; j < width; j += blockDim.x) {
        real state = 0;
        if (j < n_features) {
            state = features[j];
            if (hashes) {
                state += pool[noise + j] * (real)settings[NOISE];
                if (settings[DROPOUT_FACTOR] != 1)
                    state *= pool[dropout + j] >= (real)settings[DROPOUT_BELOW]
                                 ? (real)settings[DROPOUT_FACTOR]
                                 : (real)0;
            }
            /* NaN: not known. */
            if (state != state) state = 0;
        } else if (j < n_visible) {
            state = (real)settings[INTERCEPT];
        } else if (DIFFERENCE && j < n_visible + CLASSES) {
            inputs[place * width + j] = -(real)settings[INVERSE_TEMPERATURE];
            continue;
        }
        inputs[place * width + j] = state * (real)settings[INVERSE_UNIT];
    }
}

/* One warp for a sample: its loss, and the gradient with the largest entry 1. */
FUNCTION void evaluate(const real *scores, int label, real m, real *delta,
                       real *log_scale, double *loss, int *marks) {
    int lane = threadIdx.x % 32;
    real own = scores[label], most = NONE, most_other = NONE;
    int responds = 0, beaten = 0;
    for (int alpha = lane; alpha < CLASSES; alpha += 32) {
        real score = scores[alpha];
        responds |= score != 0;
        /* The first of equal scores is the prediction. */
        beaten |= score > own || (score == own && alpha < label);
        most = fmax(most, score);
        if (alpha != label) most_other = fmax(most_other, score);
    }
    double error = 0;
    real log_sum = 0, log_others = 0;
    if (LOSS == 1) {
        most = warp_max(most);
        most_other = warp_max(most_other);
        real sum = 0, others = 0;
        for (int alpha = lane; alpha < CLASSES; alpha += 32) {
            sum += (real)exp(scores[alpha] - most);
            /* 1 - p of the true class is the sum of the others. */
            if (alpha != label) others += (real)exp(scores[alpha] - most_other);
        }
        log_sum = most + (real)log(warp_sum(sum));
        log_others = most_other + (real)log(warp_sum(others));
        error = lane == 0 ? (double)(log_sum - own) : 0.0;
    }
    real largest = NONE;
    for (int alpha = lane; alpha < CLASSES; alpha += 32) {
        real target = alpha == label ? (real)1 : (real)-1, logarithm;
        if (LOSS == 1) {
            logarithm = (alpha == label ? log_others : scores[alpha]) - log_sum;
        } else {
            logarithm = log_slope_of_error(scores[alpha], target, m);
            error += exp((double)log_error(scores[alpha], target, m));
        }
        delta[alpha] = logarithm;
        largest = fmax(largest, logarithm);
    }
    largest = warp_max(largest);
    for (int alpha = lane; alpha < CLASSES; alpha += 32) {
        real magnitude = (real)exp(delta[alpha] - largest);
        delta[alpha] = alpha == label ? -magnitude : magnitude;
    }
    error = warp_sum(error);
    int all = (warp_max((real)responds) > 0 ? RESPONDS : 0) |
              (warp_max((real)beaten) > 0 ? 0 : HIT);
    if (lane == 0) {
        *log_scale = largest;
        *loss = error;
        *marks = all;
    }
}

/* One block for a sample; without codes only its scores. */
extern "C" __global__ void forward(const real *x, const real *connections,
                                   const double *settings, int n_memories,
                                   const int *codes, const int *rows, real *scores,
                                   real *delta, real *log_scales, double *losses,
                                   int *marks) {
    __shared__ double shared[MOST_WARPS];
    __shared__ real parts[MOST_WARPS * CLASS_TILE];
    long long sample = blockIdx.x;
    const real *overlaps = x + sample * n_memories;
    real *own = scores + sample * CLASSES;
    real inverse_temperature = (real)settings[INVERSE_TEMPERATURE];
    real scale = 0;
    if (STEEP) {
        double largest = NONE;
        for (int memory = threadIdx.x; memory < n_memories; memory += blockDim.x) {
            real overlap = overlaps[memory];
            if (DIFFERENCE) overlap = lifted(overlap, inverse_temperature);
            largest = fmax(largest, (double)size(overlap));
        }
        scale = (real)block_max(largest, shared);
        if (scale > NONE) scale *= exponent(DIFFERENCE ? 0 : 1);
    }
    real factor = DIFFERENCE ? (real)1 : 2 * inverse_temperature;
    if (STEEP) {
        if (!DIFFERENCE && IS_POWER) factor *= (real)POWER;
        /* A scale beyond the range of the type is brought to its edge: the score is
         * then far beyond, or far below, what tanh distinguishes. */
        real room = (real)(0.6 * LOG_MAX);
        factor *= (real)exp(fmin(fmax(scale, -room), room));
    }
    for (int alpha = 0; alpha < CLASSES; alpha += CLASS_TILE) {
        real sums[CLASS_TILE];
        for (int k = 0; k < CLASS_TILE; ++k) sums[k] = 0;
        for (int memory = threadIdx.x; memory < n_memories && scale > NONE;
             memory += blockDim.x) {
            real overlap = overlaps[memory];
            const real *xi = connections + (long long)alpha * n_memories + memory;
            real active = 0;
            if (!DIFFERENCE)
                active = STEEP ? scaled(overlap, 1, -scale) : activation(overlap);
#pragma unroll
            for (int k = 0; k < CLASS_TILE; ++k)
                if (alpha + k < CLASSES) {
                    real connection = xi[(long long)k * n_memories];
                    sums[k] += DIFFERENCE
                                   ? rise(overlap, 2 * connection * inverse_temperature,
                                          scale)
                                   : connection * active;
                }
        }
        for (int k = 0; k < CLASS_TILE; ++k) {
            real sum = warp_sum(sums[k]);
            if (threadIdx.x % 32 == 0) parts[threadIdx.x / 32 * CLASS_TILE + k] = sum;
        }
        __syncthreads();
        if (threadIdx.x < CLASS_TILE && alpha + threadIdx.x < CLASSES) {
            real sum = 0;
            for (int warp = 0; warp < blockDim.x / 32; ++warp)
                sum += parts[warp * CLASS_TILE + threadIdx.x];
            own[alpha + threadIdx.x] = sum * factor;
        }
        __syncthreads();
    }
    if (codes && threadIdx.x < 32)
        evaluate(own, codes[rows[sample]], (real)settings[ERROR_EXPONENT],
                 delta + sample * CLASSES, log_scales + sample, losses + sample,
                 marks + sample);
}

/* A single block. sample_weights: of the samples that are followed, relative to the
 * largest; their logarithm where steep. totals: loss, weight, hits. */
extern "C" __global__ void loss_gradient(const real *log_scales, const double *losses,
                                         const int *marks, const double *weights,
                                         const int *rows, const double *settings,
                                         int n_samples, real *sample_weights,
                                         double *common_scale, double *totals) {
    __shared__ double shared[MOST_WARPS];
    double loss = 0, weight = 0, hits = 0, any = 0, most = LOWEST, n_followed = 0;
    for (int i = threadIdx.x; i < n_samples; i += blockDim.x) {
        double own = weights ? weights[rows[i]] : 1.0;
        loss += own * losses[i];
        weight += own;
        hits += marks[i] & HIT;
        if (marks[i] & RESPONDS) any = 1;
    }
    loss = block_sum(loss, shared);
    weight = block_sum(weight, shared);
    hits = block_sum(hits, shared);
    /* A sample that no memory responds to has no gradient, whatever its error. */
    int needed = block_max(any, shared) > 0 ? RESPONDS : 0;
    for (int i = threadIdx.x; i < n_samples; i += blockDim.x)
        if ((marks[i] & needed) == needed) most = fmax(most, (double)log_scales[i]);
    real least = (real)(block_max(most, shared) + settings[LOG_TOLERANCE]);
    for (int i = threadIdx.x; i < n_samples; i += blockDim.x)
        n_followed += (marks[i] & needed) == needed && log_scales[i] >= least;
    if (block_sum(n_followed, shared) > MANY * n_samples) least = NONE;
    double common = LOWEST;
    for (int i = threadIdx.x; i < n_samples; i += blockDim.x) {
        int follow = (marks[i] & needed) == needed && log_scales[i] >= least;
        sample_weights[i] =
            follow ? log_scales[i] + (weights ? (real)log(weights[rows[i]]) : (real)0)
                   : NONE;
        common = fmax(common, (double)sample_weights[i]);
    }
    common = block_max(common, shared);
    if (!(common > LOWEST)) common = 0;
    for (int i = threadIdx.x; i < n_samples; i += blockDim.x) {
        real logarithm = sample_weights[i] - (real)common;
        sample_weights[i] = STEEP ? logarithm : (real)exp(logarithm);
    }
    if (threadIdx.x == 0) {
        totals[0] += loss;
        totals[1] += weight;
        totals[2] += hits;
        *common_scale = common;
    }
}

/* The largest number among the threads of a memory, and their sum. */
FUNCTION real lane_max(real mine, real *shared) {
    shared[threadIdx.x] = mine;
    __syncthreads();
    for (int i = threadIdx.x % LANES; i < THREADS; i += LANES)
        mine = fmax(mine, shared[i]);
    __syncthreads();
    return mine;
}

FUNCTION real lane_sum(real mine, real *shared) {
    shared[threadIdx.x] = mine;
    __syncthreads();
    real sum = 0;
    for (int i = threadIdx.x % LANES; i < THREADS; i += LANES) sum += shared[i];
    __syncthreads();
    return sum;
}

/* f(x) of a sample's weight; without its constant factor where steep. */
FUNCTION real weighted(real x, real weight) {
    return STEEP ? scaled(x, 1, weight) : weight * activation(x);
}

/* One block for LANES memories, whose threads share the samples. */
extern "C" __global__ void __launch_bounds__(THREADS)
    backward(const real *x, const real *connections, const real *delta,
             const real *sample_weights, const double *common_scale,
             const double *settings, int n_samples, int n_memories, int n_visible,
             real *velocity, const real *peaks, double *velocity_scales,
             real *d_overlaps, real *d_connections, int *idle) {
    __shared__ real shared[CLASS_TILE * THREADS];
    int lane = threadIdx.x % LANES, group = threadIdx.x / LANES;
    int first = blockIdx.x * LANES, inside = first + lane < n_memories;
    long long memory = inside ? first + lane : n_memories - 1;
    real inverse_temperature = (real)settings[INVERSE_TEMPERATURE];
    real largest = 0;
    if (STEEP) {
        largest = NONE;
        for (int sample = group; sample < n_samples; sample += GROUPS) {
            real overlap = x[(long long)sample * n_memories + memory];
            if (DIFFERENCE) overlap = lifted(overlap, inverse_temperature);
            real logarithm = size(overlap);
            if (logarithm > NONE && sample_weights[sample] > NONE)
                largest = fmax(largest, exponent(DIFFERENCE ? 1 : 2) * logarithm +
                                            sample_weights[sample]);
        }
        largest = lane_max(largest, shared);
    }

    /* V(t) = p V(t-1) - dC/dxi, on the scale of V(t-1) if that is near enough. */
    double scale = velocity_scales[memory] + settings[LOG_MOMENTUM];
    double kept = peaks[memory] > 0 ? scale + log((double)peaks[memory]) : LOWEST;
    double added = *common_scale + largest;
    double top = fmax(kept, added);
    if (!(fabs(top - scale) <= 0.25 * LOG_MAX)) {
        real change = kept > LOWEST ? (real)exp(scale - top) : (real)0;
        int n_units = inside ? n_visible + CLASSES : 0;
        for (long long unit = group; unit < n_units; unit += GROUPS)
            velocity[unit * n_memories + memory] *= change;
        scale = top > LOWEST ? top : 0;
    }
    /* The gradient's scale relative to the velocity's. */
    real log_factor = (real)(*common_scale - scale);
    real factor = DIFFERENCE ? (real)1 : 2 * inverse_temperature;
    if (STEEP && DIFFERENCE && IS_POWER) factor *= (real)POWER;

    real slopes = 0, highest = NONE;
    for (int alpha = 0; alpha < CLASSES; alpha += CLASS_TILE) {
        real xi[CLASS_TILE], sums[CLASS_TILE];
#pragma unroll
        for (int k = 0; k < CLASS_TILE; ++k) {
            sums[k] = 0;
            if (alpha + k < CLASSES)
                xi[k] = connections[(long long)(alpha + k) * n_memories + memory];
        }
        for (int sample = group; sample < n_samples; sample += GROUPS) {
            long long place = (long long)sample * n_memories + memory;
            const real *error = delta + (long long)sample * CLASSES + alpha;
            real overlap = x[place], weight = sample_weights[sample];
            int followed = weight > (STEEP ? NONE : (real)0);
            if (followed) highest = fmax(highest, overlap);
            weight = STEEP ? weight + log_factor : weight * (real)exp(log_factor);
            real derivative = 0, active, steepness;
            if (DIFFERENCE) {
                active = weighted(overlap, weight);
            } else if (STEEP) {
                active = steepness = scaled(overlap, 2, weight);
                if (IS_POWER) {
                    active *= (real)POWER * overlap;
                    steepness *= (real)(POWER * (POWER - 1.0));
                }
            } else {
                active = weight * activation(overlap);
                steepness = weight * slope(overlap);
            }
#pragma unroll
            for (int k = 0; k < CLASS_TILE; ++k)
                if (alpha + k < CLASSES) {
                    if (DIFFERENCE) {
                        real to = overlap + 2 * xi[k] * inverse_temperature;
                        real flipped = weighted(to, weight);
                        if (followed && error[k] != 0) highest = fmax(highest, to);
                        derivative += error[k] * (flipped - active);
                        sums[k] += 2 * error[k] * flipped;
                    } else {
                        derivative += error[k] * xi[k];
                        sums[k] += error[k] * active;
                    }
                }
            derivative *= DIFFERENCE ? -factor : -factor * steepness;
            slopes += derivative;
            if (alpha > 0) derivative += d_overlaps[place];
            if (inside) d_overlaps[place] = derivative;
        }
        for (int k = 0; k < CLASS_TILE; ++k)
            shared[k * THREADS + threadIdx.x] =
                sums[k] * (DIFFERENCE ? -factor * inverse_temperature : -factor);
        __syncthreads();
        for (int i = threadIdx.x; i < CLASS_TILE * LANES; i += THREADS) {
            int k = i / LANES, which = first + i % LANES;
            real sum = 0;
            for (int j = i % LANES; j < THREADS; j += LANES)
                sum += shared[k * THREADS + j];
            if (alpha + k < CLASSES && which < n_memories)
                d_connections[(long long)(alpha + k) * n_memories + which] = sum;
        }
        __syncthreads();
    }
    /* In the exact update, every xi_gamma also lowers its memory's overlap x. */
    real lowered = 0;
    if (DIFFERENCE) lowered = lane_sum(slopes, shared) * inverse_temperature;
    for (int alpha = group; alpha < CLASSES && inside; alpha += GROUPS)
        velocity[(long long)(n_visible + alpha) * n_memories + memory] +=
            d_connections[(long long)alpha * n_memories + memory] - lowered;
    highest = lane_max(highest, shared);
    if (group == 0 && inside) {
        /* Without a gradient is a memory that no followed sample activates. */
        idle[memory] = !(highest > (RECTIFIED ? (real)0 : NONE));
        velocity_scales[memory] = scale;
    }
}

/* One block for LANES memories: xi = clip(xi + eps V / max |V|). */
extern "C" __global__ void __launch_bounds__(THREADS)
    apply_update(const real *velocity, const double *settings, int n_memories,
                 int n_units, real *peaks, real *memories) {
    __shared__ real shared[THREADS];
    int lane = threadIdx.x % LANES, group = threadIdx.x / LANES;
    int first = blockIdx.x * LANES, inside = first + lane < n_memories;
    long long memory = inside ? first + lane : n_memories - 1;
    real peak = 0;
    for (long long unit = group; unit < n_units; unit += GROUPS)
        peak = fmax(peak, fabs(velocity[unit * n_memories + memory]));
    peak = lane_max(peak, shared);
    if (!(peak >= (real)TINY)) peak = 0;
    if (group == 0 && inside) peaks[memory] = peak;
    if (!inside || peak == 0) return;
    real factor = (real)settings[LEARNING_RATE] / peak;
    for (long long unit = group; unit < n_units; unit += GROUPS) {
        real *xi = memories + unit * n_memories + memory;
        real moved = *xi + factor * velocity[unit * n_memories + memory];
        *xi = fmin(fmax(moved, (real)-1), (real)1);
    }
}
