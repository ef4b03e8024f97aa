/* The step of training, in the order of its kernels:
 *
 *   gather        the inputs: rows of the data with their noise, and the intercept
 *   (product)     overlaps x = inputs . memories
 *   forward       scores, and the loss of each sample with its gradient
 *   backward      which samples are followed; -dC/dx, and the velocity of xi_alpha
 *   (product)     the velocity of xi_i, to which inputs^T . -dC/dx is added
 *   apply_update  step normalised for each memory, clipping; at the same time totals of
 *                 this minibatch, and the inputs of the next one
 *
 * Arrays are in C order, memories last: memories and velocity (n_units, n_memories),
 * x and dC/dx (n_samples, n_memories), scores and delta (n_samples, CLASSES). Inputs are
 * kept in both orders, one for each product. All sums are in a fixed order, so that
 * the same seed gives the same bits.
 *
 * The velocity of memory mu is velocity[:, mu] exp(velocity_scales[mu]). Its decay only
 * lowers the scale, to which the gradient is brought in dC/dx. Where the numbers would
 * leave their range, the scale is set anew.
 *
 * Kernels along memories have LANES memories in a block, whose threads share the
 * samples or the units. AHEAD of these are loaded at once, so that a thread waits less.
 *
 * Also set when compiled: LOSS, 0 for the power objective, 1 for the cross-entropy of
 * the softmax and 2 for that of each unit; MULTILABEL, 1: codes are a row of 0 and 1 for
 * a sample, instead of a number; CLASSES, their number; CLASS_TILE, how many of them are held in registers; SAMPLES,
 * how many samples a block of forward has; TILE, samples and columns of a block that
 * gathers; COLUMNS of gradients; MANY, the share of samples above which all
 * are followed; POOL_SIZE of the random numbers; THREADS and UPDATE_THREADS of a block
 * of backward and of apply_update, and their LANES; LOG_MAX and TINY, ln of the largest
 * and the smallest normal number.
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

#define AHEAD 8
#define GROUPS (THREADS / LANES)
#define UPDATE_GROUPS (UPDATE_THREADS / LANES)

/* Of each sample, in a row of gradients: the logarithm of its largest component, the
 * same times the sample's weight, and marks. */
#define LOG_SCALE 0
#define LOG_WEIGHT 1
#define MARKS 2

/* A row of delta is padded for loads of 16 bytes. */
#define DELTA_ROW ((CLASSES + CLASS_TILE - 1) / CLASS_TILE * CLASS_TILE)
#define AT_ONCE (16 / (int)sizeof(real))
union Loaded {
    int4 bits;
    real of[AT_ONCE];
};

#define HIT 1
#define RESPONDS 2

/* The inputs of TILE samples, TILE columns of them. The data are X[rows], or with
 * `staged` the samples of these numbers in a row; without hashes they get no noise.
 * Inputs behind the intercept are the classification units of the exact update, all at
 * -1, and padding. Transposed inputs have `stride` samples; to a multiple of 4, the
 * missing ones are 0. */
FUNCTION void gather_tile(int number_of_tile, const real *X, const int *rows,
                          int staged, const unsigned *hashes, const unsigned *shifts,
                          const real *pool, const double *settings, int n_features,
                          int n_visible, int width, int stride, int n_samples,
                          real *inputs, real *transposed) {
    __shared__ real tile[TILE][TILE + 1];
    int n_across = (width + TILE - 1) / TILE, column = threadIdx.x % TILE;
    int across = number_of_tile % n_across * TILE, j = across + column;
    int first = number_of_tile / n_across * TILE;
    for (int i = threadIdx.x / TILE; i < TILE; i += blockDim.x / TILE) {
        int place = first + i;
        real state = 0;
        if (place < n_samples && j < width) {
            long long number = rows ? rows[place] : place;
            if (j < n_features) {
                state = X[(staged ? place : number) * n_features + j];
                if (hashes) {
                    unsigned noise = hashes[number] + shifts[0];
                    state += pool[noise % POOL_SIZE + j] * (real)settings[NOISE];
                    unsigned dropout = hashes[number] * 0x9e3779b1u + shifts[1];
                    if (settings[DROPOUT_FACTOR] != 1)
                        state *= pool[dropout % POOL_SIZE + j] >=
                                         (real)settings[DROPOUT_BELOW]
                                     ? (real)settings[DROPOUT_FACTOR]
                                     : (real)0;
                }
                /* NaN: not known. */
                if (state != state) state = 0;
                state *= (real)settings[INVERSE_UNIT];
            } else if (j < n_visible) {
                state = (real)settings[INTERCEPT] * (real)settings[INVERSE_UNIT];
            } else if (DIFFERENCE && j < n_visible + CLASSES) {
                state = -(real)settings[INVERSE_TEMPERATURE];
            }
            inputs[(long long)place * width + j] = state;
        }
        tile[i][column] = state;
    }
    if (!transposed) return;
    __syncthreads();
    int place = first + column;
    for (int i = threadIdx.x / TILE; i < TILE; i += blockDim.x / TILE)
        if (across + i < width && place < (n_samples + 3) / 4 * 4)
            transposed[(long long)(across + i) * stride + place] = tile[column][i];
}

/* One block for a tile. */
extern "C" __global__ void gather(const real *X, const int *rows, int staged,
                                  const unsigned *hashes, const unsigned *shifts,
                                  const real *pool, const double *settings,
                                  int n_features, int n_visible, int width, int stride,
                                  int n_samples, real *inputs, real *transposed) {
    gather_tile(blockIdx.x, X, rows, staged, hashes, shifts, pool, settings, n_features,
                n_visible, width, stride, n_samples, inputs, transposed);
}

/* One warp for a sample: its loss, and the gradient with the largest entry 1. */
FUNCTION void evaluate(const real *scores, const int *codes, real m, double weight,
                       real *delta, real *gradient, double *loss) {
    int lane = threadIdx.x % 32, label = MULTILABEL ? -1 : codes[0];
    real own = MULTILABEL ? (real)0 : scores[label], most = NONE, most_other = NONE;
    int responds = 0, beaten = 0;
    for (int alpha = lane; alpha < CLASSES; alpha += 32) {
        real score = scores[alpha];
        responds |= score != 0;
        /* The first of equal scores is the prediction. */
        beaten |= MULTILABEL ? (score > 0) != codes[alpha]
                             : score > own || (score == own && alpha < label);
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
        int is_true = MULTILABEL ? codes[alpha] : alpha == label;
        real target = is_true ? (real)1 : (real)-1, logarithm;
        if (LOSS == 1) {
            logarithm = (is_true ? log_others : scores[alpha]) - log_sum;
        } else if (LOSS == 2) {
            /* With m = 1/2 the error of a unit is its probability of being wrong. */
            error -= (double)log_error(scores[alpha], -target, (real)0.5);
            logarithm = log_error(scores[alpha], target, (real)0.5) + (real)log(2.0);
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
        int is_true = MULTILABEL ? codes[alpha] : alpha == label;
        delta[alpha] = is_true ? -magnitude : magnitude;
    }
    error = warp_sum(error);
    int all = (warp_max((real)responds) > 0 ? RESPONDS : 0) |
              (warp_max((real)beaten) > 0 ? 0 : HIT);
    if (lane == 0) {
        *loss = error;
        gradient[LOG_SCALE] = largest;
        gradient[LOG_WEIGHT] = largest + (real)log(weight);
        gradient[MARKS] = all;
    }
}

/* One block for SAMPLES samples; without codes only their scores. */
extern "C" __global__ void forward(const real *x, const real *connections,
                                   const double *settings, int n_samples,
                                   int n_memories, const int *codes, const int *rows,
                                   const double *weights, real *scores, real *delta,
                                   real *gradients, double *losses) {
    __shared__ double shared[SAMPLES * MOST_WARPS];
    __shared__ real parts[MOST_WARPS * SAMPLES * CLASS_TILE];
    int warp = threadIdx.x / 32, n_warps = blockDim.x / 32;
    long long first = (long long)blockIdx.x * SAMPLES;
    const real *overlaps[SAMPLES];
    for (int s = 0; s < SAMPLES; ++s) {
        long long sample = first + s < n_samples ? first + s : n_samples - 1;
        overlaps[s] = x + sample * n_memories;
    }
    real inverse_temperature = (real)settings[INVERSE_TEMPERATURE];
    double scales[SAMPLES] = {0};
    if (STEEP) {
        for (int s = 0; s < SAMPLES; ++s) scales[s] = NONE;
        for (int memory = threadIdx.x; memory < n_memories; memory += blockDim.x)
            for (int s = 0; s < SAMPLES; ++s) {
                real overlap = overlaps[s][memory];
                if (DIFFERENCE) overlap = lifted(overlap, inverse_temperature);
                scales[s] = fmax(scales[s], (double)size(overlap));
            }
        block_reduce(scales, 0, shared);
        for (int s = 0; s < SAMPLES; ++s)
            scales[s] = scales[s] > NONE ? scales[s] * exponent(DIFFERENCE ? 0 : 1) : 0;
    }
    for (int alpha = 0; alpha < CLASSES; alpha += CLASS_TILE) {
        real sums[SAMPLES][CLASS_TILE] = {0};
        for (int memory = threadIdx.x; memory < n_memories; memory += blockDim.x) {
            const real *xi = connections + (long long)alpha * n_memories + memory;
            real active[SAMPLES];
#pragma unroll
            for (int s = 0; s < SAMPLES; ++s) {
                real overlap = overlaps[s][memory];
                active[s] = DIFFERENCE ? overlap
                            : STEEP    ? scaled(overlap, 1, -(real)scales[s])
                                       : activation(overlap);
            }
#pragma unroll
            for (int k = 0; k < CLASS_TILE; ++k)
                if (alpha + k < CLASSES) {
                    real connection = xi[(long long)k * n_memories];
#pragma unroll
                    for (int s = 0; s < SAMPLES; ++s)
                        sums[s][k] += DIFFERENCE
                                          ? rise(active[s],
                                                 2 * connection * inverse_temperature,
                                                 (real)scales[s])
                                          : connection * active[s];
                }
        }
#pragma unroll
        for (int s = 0; s < SAMPLES; ++s)
#pragma unroll
            for (int k = 0; k < CLASS_TILE; ++k) {
                real sum = warp_sum(sums[s][k]);
                if (threadIdx.x % 32 == 0)
                    parts[(warp * SAMPLES + s) * CLASS_TILE + k] = sum;
            }
        __syncthreads();
        for (int i = threadIdx.x; i < SAMPLES * CLASS_TILE; i += blockDim.x) {
            int s = i / CLASS_TILE, k = i % CLASS_TILE;
            if (alpha + k >= CLASSES || first + s >= n_samples) continue;
            real factor = DIFFERENCE ? (real)1 : 2 * inverse_temperature;
            if (STEEP) {
                if (!DIFFERENCE && IS_POWER) factor *= (real)POWER;
                /* A scale beyond the range of the type is brought to its edge: the
                 * score is then far beyond, or far below, what tanh distinguishes. */
                real room = (real)(0.6 * LOG_MAX), scale = 0;
#pragma unroll
                for (int other = 0; other < SAMPLES; ++other)
                    if (other == s) scale = (real)scales[other];
                factor *= (real)exp(fmin(fmax(scale, -room), room));
            }
            real sum = 0;
            for (int part = i; part < n_warps * SAMPLES * CLASS_TILE;
                 part += SAMPLES * CLASS_TILE)
                sum += parts[part];
            scores[(first + s) * CLASSES + alpha + k] = sum * factor;
        }
        __syncthreads();
    }
    if (!codes) return;
    for (long long i = first + warp; i < first + SAMPLES && i < n_samples; i += n_warps)
        evaluate(scores + i * CLASSES,
                 codes + (long long)rows[i] * (MULTILABEL ? CLASSES : 1),
                 (real)settings[ERROR_EXPONENT], weights ? weights[rows[i]] : 1.0, delta + i * DELTA_ROW,
                 gradients + i * COLUMNS, losses + i);
}

/* Which samples are followed: those with all marks that are needed, whose gradient is
 * not below the least. Their weights are relative to the common scale. */
struct Followed {
    int needed;
    real least, common;
};

FUNCTION Followed follow(const real *gradients, double log_tolerance, int n_samples,
                         real *shared) {
    /* Whether any sample responds, and the largest gradient among those that do and
     * among all. */
    real found[3] = {0, NONE, NONE};
    for (int i = threadIdx.x; i < n_samples; i += THREADS) {
        const real *own = gradients + (long long)i * COLUMNS;
        real logarithm = own[LOG_SCALE];
        if ((int)own[MARKS] & RESPONDS) {
            found[0] = 1;
            found[1] = fmax(found[1], logarithm);
        }
        found[2] = fmax(found[2], logarithm);
    }
    block_reduce(found, 0, shared);
    Followed result;
    /* A sample that no memory responds to has no gradient, whatever its error. */
    result.needed = found[0] > 0 ? RESPONDS : 0;
    result.least = (real)((result.needed ? found[1] : found[2]) + log_tolerance);
    /* How many are followed, and the largest weighted gradient among them and among
     * those that could be. */
    real followed[3] = {0, NONE, NONE};
    for (int i = threadIdx.x; i < n_samples; i += THREADS) {
        const real *own = gradients + (long long)i * COLUMNS;
        if (((int)own[MARKS] & result.needed) != result.needed) continue;
        real weighted = own[LOG_WEIGHT];
        if (own[LOG_SCALE] >= result.least) {
            followed[0] += 1;
            followed[1] = fmax(followed[1], weighted);
        }
        followed[2] = fmax(followed[2], weighted);
    }
    block_reduce(followed, 1, shared);
    int all = followed[0] > MANY * n_samples;
    if (all) result.least = NONE;
    result.common = followed[all ? 2 : 1];
    if (!(result.common > NONE)) result.common = 0;
    return result;
}

/* The logarithm of a sample's weight; NONE: not followed. */
FUNCTION real log_weight(const real *gradient, const Followed &followed) {
    Loaded own[COLUMNS / AT_ONCE];
    for (int i = 0; i < COLUMNS / AT_ONCE; ++i)
        own[i].bits = __ldg((const int4 *)(gradient + i * AT_ONCE));
    int marks = (int)own[MARKS / AT_ONCE].of[MARKS % AT_ONCE];
    int follows = (marks & followed.needed) == followed.needed &&
                  own[0].of[LOG_SCALE] >= followed.least;
    return follows ? own[0].of[LOG_WEIGHT] - followed.common : NONE;
}

/* Add the weighted loss, the weights and the hits of all samples. */
FUNCTION void add_totals(const real *gradients, const double *losses,
                         const double *weights, const int *rows, int n_samples,
                         double *totals) {
    __shared__ double shared[3 * MOST_WARPS];
    double sums[3] = {0, 0, 0};
    for (int i = threadIdx.x; i < n_samples; i += blockDim.x) {
        double weight = weights ? weights[rows[i]] : 1.0;
        sums[0] += weight * losses[i];
        sums[1] += weight;
        sums[2] += (int)gradients[(long long)i * COLUMNS + MARKS] & HIT;
    }
    block_reduce(sums, 3, shared);
    if (threadIdx.x == 0)
        for (int i = 0; i < 3; ++i) totals[i] += sums[i];
}

/* The largest number among the threads of a memory, and their sum. */
FUNCTION real lane_max(real mine, real *shared) {
    for (int offset = 16; offset >= LANES; offset >>= 1)
        mine = fmax(mine, __shfl_xor_sync(0xffffffffu, mine, offset));
    int lane = threadIdx.x % LANES;
    if (threadIdx.x % 32 < LANES) shared[threadIdx.x / 32 * LANES + lane] = mine;
    __syncthreads();
    for (int warp = 0; warp < blockDim.x / 32; ++warp)
        mine = fmax(mine, shared[warp * LANES + lane]);
    __syncthreads();
    return mine;
}

FUNCTION real lane_sum(real mine, real *shared) {
    for (int offset = 16; offset >= LANES; offset >>= 1)
        mine += __shfl_xor_sync(0xffffffffu, mine, offset);
    int lane = threadIdx.x % LANES;
    if (threadIdx.x % 32 < LANES) shared[threadIdx.x / 32 * LANES + lane] = mine;
    __syncthreads();
    real sum = 0;
    for (int warp = 0; warp < blockDim.x / 32; ++warp)
        sum += shared[warp * LANES + lane];
    __syncthreads();
    return sum;
}

/* f(x) of a sample's weight; without its constant factor where steep. */
FUNCTION real weighted(real x, real weight) {
    return STEEP ? scaled(x, 1, weight) : weight * activation(x);
}

/* One block for LANES memories. */
extern "C" __global__ void __launch_bounds__(THREADS)
    backward(const real *x, const real *connections, const real *delta,
             const real *gradients, const double *settings, int n_samples,
             int n_memories, int n_visible, real *velocity, const real *peaks,
             double *velocity_scales, real *d_overlaps, real *d_connections,
             int *idle) {
    __shared__ real shared[CLASS_TILE * THREADS / 32 * LANES];
    Followed followed = follow(gradients, settings[LOG_TOLERANCE], n_samples, shared);
    __syncthreads();
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
            real weight = log_weight(gradients + (long long)sample * COLUMNS, followed);
            if (logarithm > NONE && weight > NONE)
                largest = fmax(largest,
                               exponent(DIFFERENCE ? 1 : 2) * logarithm + weight);
        }
        largest = lane_max(largest, shared);
    }

    /* V(t) = p V(t-1) - dC/dxi, on the scale of V(t-1) if that is near enough. */
    double scale = velocity_scales[memory] + settings[LOG_MOMENTUM];
    double kept = peaks[memory] > 0 ? scale + log((double)peaks[memory]) : LOWEST;
    double added = (double)followed.common + largest;
    double top = fmax(kept, added);
    if (!(fabs(top - scale) <= 0.25 * LOG_MAX)) {
        real change = kept > LOWEST ? (real)exp(scale - top) : (real)0;
        int n_units = inside ? n_visible + CLASSES : 0;
        for (long long unit = group; unit < n_units; unit += GROUPS)
            velocity[unit * n_memories + memory] *= change;
        scale = top > LOWEST ? top : 0;
    }
    /* The gradient's scale relative to the velocity's. */
    real log_factor = (real)(followed.common - scale);
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
        for (int next = group; next < n_samples; next += AHEAD * GROUPS) {
            real loaded[AHEAD], log_weights[AHEAD];
#pragma unroll
            for (int i = 0; i < AHEAD; ++i) {
                long long sample = next + i * GROUPS;
                if (sample < n_samples) {
                    loaded[i] = x[sample * n_memories + memory];
                    log_weights[i] = log_weight(gradients + sample * COLUMNS, followed);
                }
            }
#pragma unroll
            for (int i = 0; i < AHEAD; ++i) {
                long long sample = next + i * GROUPS;
                long long place = sample * n_memories + memory;
                if (sample >= n_samples) break;
                const real *errors = delta + sample * DELTA_ROW + alpha;
                Loaded row;
                real overlap = loaded[i], weight = log_weights[i] + log_factor;
                int follows = log_weights[i] > NONE;
                if (follows) highest = fmax(highest, overlap);
                if (!STEEP) weight = (real)exp(weight);
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
                        if (k % AT_ONCE == 0)
                            row.bits = __ldg((const int4 *)(errors + k));
                        real error = row.of[k % AT_ONCE];
                        if (DIFFERENCE) {
                            real to = overlap + 2 * xi[k] * inverse_temperature;
                            real flipped = weighted(to, weight);
                            if (follows && error != 0) highest = fmax(highest, to);
                            derivative += error * (flipped - active);
                            sums[k] += 2 * error * flipped;
                        } else {
                            derivative += error * xi[k];
                            sums[k] += error * active;
                        }
                    }
                derivative *= DIFFERENCE ? -factor : -factor * steepness;
                slopes += derivative;
                if (alpha > 0) derivative += d_overlaps[place];
                if (inside) d_overlaps[place] = derivative;
            }
        }
#pragma unroll
        for (int k = 0; k < CLASS_TILE; ++k) {
            real sum = sums[k];
            for (int offset = 16; offset >= LANES; offset >>= 1)
                sum += __shfl_xor_sync(0xffffffffu, sum, offset);
            sum *= DIFFERENCE ? -factor * inverse_temperature : -factor;
            if (threadIdx.x % 32 < LANES)
                shared[(threadIdx.x / 32 * CLASS_TILE + k) * LANES + lane] = sum;
        }
        __syncthreads();
        for (int i = threadIdx.x; i < CLASS_TILE * LANES; i += THREADS) {
            int k = i / LANES, which = first + i % LANES;
            real sum = 0;
            for (int warp = 0; warp < THREADS / 32; ++warp)
                sum += shared[warp * CLASS_TILE * LANES + i];
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

/* One block for LANES memories: xi = clip(xi + eps V / max |V|). Behind them, one for
 * the totals, and others that gather the next minibatch. */
extern "C" __global__ void __launch_bounds__(UPDATE_THREADS)
    apply_update(const real *velocity, const double *settings, int n_memories,
                 int n_units, real *peaks, real *memories, const real *gradients,
                 const double *losses, const double *weights, const int *rows,
                 int n_samples, double *totals, const real *X, const int *next_rows,
                 const unsigned *hashes, const unsigned *shifts, const real *pool,
                 int n_features, int n_visible, int width, int stride, int n_next,
                 real *inputs, real *transposed) {
    __shared__ real shared[UPDATE_THREADS / 32 * LANES];
    int n_blocks = (n_memories + LANES - 1) / LANES;
    if (blockIdx.x == n_blocks) {
        add_totals(gradients, losses, weights, rows, n_samples, totals);
        return;
    }
    if (blockIdx.x > n_blocks) {
        gather_tile(blockIdx.x - n_blocks - 1, X, next_rows, 0, hashes, shifts, pool,
                    settings, n_features, n_visible, width, stride, n_next, inputs,
                    transposed);
        return;
    }
    int lane = threadIdx.x % LANES, group = threadIdx.x / LANES;
    int first = blockIdx.x * LANES, inside = first + lane < n_memories;
    long long memory = inside ? first + lane : n_memories - 1;
    real peak = 0;
#pragma unroll AHEAD
    for (long long unit = group; unit < n_units; unit += UPDATE_GROUPS)
        peak = fmax(peak, fabs(velocity[unit * n_memories + memory]));
    peak = lane_max(peak, shared);
    if (!(peak >= (real)TINY)) peak = 0;
    if (group == 0 && inside) peaks[memory] = peak;
    if (!inside || peak == 0) return;
    real factor = (real)settings[LEARNING_RATE] / peak;
    for (long long next = group; next < n_units; next += AHEAD * UPDATE_GROUPS) {
        real moved[AHEAD];
#pragma unroll
        for (int i = 0; i < AHEAD; ++i) {
            long long place = (next + i * UPDATE_GROUPS) * n_memories + memory;
            if (next + i * UPDATE_GROUPS < n_units)
                moved[i] = memories[place] + factor * velocity[place];
        }
#pragma unroll
        for (int i = 0; i < AHEAD; ++i)
            if (next + i * UPDATE_GROUPS < n_units)
                memories[(next + i * UPDATE_GROUPS) * n_memories + memory] =
                    fmin(fmax(moved[i], (real)-1), (real)1);
    }
}
