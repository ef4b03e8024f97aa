/* Sums and largest elements over the threads of a warp and of a block, in a fixed
 * order. Blocks have a multiple of 32 threads; every thread gets the result. */
#ifndef FUNCTION
#define FUNCTION static __device__ __forceinline__
#endif

#define MOST_WARPS 32

/* The logarithm of 0. */
#ifdef __CUDACC_RTC__
#define LOWEST __longlong_as_double(0xfff0000000000000LL)
#else
#define LOWEST (-(double)INFINITY)
#endif

template <class T> FUNCTION T warp_sum(T mine) {
    for (int offset = 16; offset > 0; offset >>= 1)
        mine += __shfl_xor_sync(0xffffffffu, mine, offset);
    return mine;
}

template <class T> FUNCTION T warp_max(T mine) {
    for (int offset = 16; offset > 0; offset >>= 1)
        mine = fmax(mine, __shfl_xor_sync(0xffffffffu, mine, offset));
    return mine;
}

/* Over a block: the sums of the first n_sums of N values, the maxima of the others. */
template <class T, int N>
FUNCTION void block_reduce(T (&values)[N], int n_sums, T *shared) {
    for (int i = 0; i < N; ++i)
        values[i] = i < n_sums ? warp_sum(values[i]) : warp_max(values[i]);
    __syncthreads();
    if (threadIdx.x % 32 == 0)
        for (int i = 0; i < N; ++i) shared[threadIdx.x / 32 * N + i] = values[i];
    __syncthreads();
    int warp = threadIdx.x % 32, is_one = warp < blockDim.x / 32;
    for (int i = 0; i < N; ++i) {
        values[i] = is_one ? shared[warp * N + i] : (T)(i < n_sums ? 0 : LOWEST);
        values[i] = i < n_sums ? warp_sum(values[i]) : warp_max(values[i]);
    }
}

FUNCTION double block_sum(double mine, double *shared) {
    double values[1] = {mine};
    block_reduce(values, 1, shared);
    return values[0];
}

FUNCTION double block_max(double mine, double *shared) {
    double values[1] = {mine};
    block_reduce(values, 0, shared);
    return values[0];
}
