/* Asynchronous recall: one block for each state, its threads share the memories.
 *
 * patterns (n_neurons, n_memories); states, free (n_states, n_neurons); index, the
 * overlaps plus n_neurons, (n_states, n_memories). */
extern "C" __global__ void look_up(const signed char *patterns,
                                   const signed char *states, int n_neurons,
                                   int n_memories, int *index) {
    long long state = blockIdx.x;
    for (int memory = threadIdx.x; memory < n_memories; memory += blockDim.x) {
        int overlap = n_neurons;
        for (long long unit = 0; unit < n_neurons; ++unit)
            overlap += patterns[unit * n_memories + memory] *
                       states[state * n_neurons + unit];
        index[state * n_memories + memory] = overlap;
    }
}

extern "C" __global__ void energy(const int *index, const double *energy_of_overlap,
                                  int n_memories, double *energies) {
    __shared__ double shared[MOST_WARPS];
    long long state = blockIdx.x;
    double sum = 0;
    for (int memory = threadIdx.x; memory < n_memories; memory += blockDim.x)
        sum += energy_of_overlap[index[state * n_memories + memory]];
    sum = block_sum(sum, shared);
    if (threadIdx.x == 0) energies[state] = -sum;
}

FUNCTION int lowest_level(const int *levels, const int *own, int n_memories,
                          double *shared) {
    double level = LOWEST;
    for (int memory = threadIdx.x; memory < n_memories; memory += blockDim.x)
        level = fmax(level, -(double)levels[own[memory]]);
    return -(int)block_max(level, shared);
}

/* One sweep. A state whose flips are 0 has converged and is left alone. */
extern "C" __global__ void sweep(const signed char *patterns, const double *steps,
                                 const double *noise, const int *levels, int n_levels,
                                 const int *order, const unsigned char *free,
                                 int n_neurons, int n_memories, double epsilon,
                                 signed char *states, int *index, int *flips) {
    __shared__ double shared[MOST_WARPS];
    long long state = blockIdx.x;
    if (flips[state] == 0) return;
    int *own = index + state * n_memories;
    int size = 2 * n_neurons + 1, level = 0, count = 0;
    if (n_levels > 1) level = lowest_level(levels, own, n_memories, shared);
    for (int position = 0; position < n_neurons; ++position) {
        long long unit = order[position];
        signed char *sigma = states + state * n_neurons + unit;
        if (free && !free[state * n_neurons + unit]) continue;
        int old = *sigma;
        const signed char *xi = patterns + unit * n_memories;
        /* The field of equation (3) in section 2, and what its rounding may amount to. */
        double field = 0, error = 0;
        for (int memory = threadIdx.x; memory < n_memories; memory += blockDim.x) {
            int without = own[memory] - xi[memory] * old;
            double step = steps[(long long)level * size + without];
            field += xi[memory] * step;
            error += epsilon * fabs(step) + noise[without];
        }
        field = block_sum(field, shared);
        if (epsilon > 0) error = block_sum(error, shared);
        int tie = old == 0 ? 1 : old;
        int updated = field > error ? 1 : field < -error ? -1 : tie;
        if (updated == old) continue;
        for (int memory = threadIdx.x; memory < n_memories; memory += blockDim.x)
            own[memory] += (updated - old) * xi[memory];
        if (n_levels > 1) level = lowest_level(levels, own, n_memories, shared);
        ++count;
        __syncthreads();
        if (threadIdx.x == 0) *sigma = (signed char)updated;
    }
    __syncthreads();
    if (threadIdx.x == 0) flips[state] = count;
}
