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

FUNCTION double block_sum(double mine, double *shared) {
    mine = warp_sum(mine);
    __syncthreads();
    if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = mine;
    __syncthreads();
    double sum = 0;
    for (int warp = 0; warp < blockDim.x / 32; ++warp) sum += shared[warp];
    return sum;
}

FUNCTION double block_max(double mine, double *shared) {
    mine = warp_max(mine);
    __syncthreads();
    if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = mine;
    __syncthreads();
    double largest = LOWEST;
    for (int warp = 0; warp < blockDim.x / 32; ++warp)
        largest = fmax(largest, shared[warp]);
    return largest;
}
