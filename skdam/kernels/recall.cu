/* One sweep of asynchronous recall: one block for a state, its threads over memories.
 *
 * patterns (n_neurons, n_memories); states, free (n_states, n_neurons); index, the
 * overlaps plus n_neurons, (n_states, n_memories). A state whose flips are negative has
 * settled and is left alone.
 */
extern "C" __global__ void sweep(const signed char *patterns, const double *steps,
                                 const double *noise, const int *levels, int n_levels,
                                 const int *order, const unsigned char *free,
                                 int n_neurons, int n_memories, double epsilon,
                                 signed char *states, int *index, int *state_levels,
                                 int *flips) {
    __shared__ double shared[MOST_WARPS];
    long long state = blockIdx.x;
    if (flips[state] < 0) return;
    int *own = index + state * n_memories;
    int size = 2 * n_neurons + 1, level = state_levels[state], count = 0;
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
        if (epsilon == 0) updated = field > 0 ? 1 : field < 0 ? -1 : tie;
        if (updated == old) continue;
        int lowest = n_levels;
        for (int memory = threadIdx.x; memory < n_memories; memory += blockDim.x) {
            own[memory] += (updated - old) * xi[memory];
            lowest = levels[own[memory]] < lowest ? levels[own[memory]] : lowest;
        }
        if (n_levels > 1) level = (int)-block_max(-lowest, shared);
        ++count;
        __syncthreads();
        if (threadIdx.x == 0) *sigma = (signed char)updated;
    }
    if (threadIdx.x == 0) {
        state_levels[state] = level;
        flips[state] = count;
    }
}
