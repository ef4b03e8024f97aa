/* What the source of CUDA kernels needs to run on the host. The threads of a block are
 * fibers. A warp runs as far as it can without the others, and the order of the warps
 * is random, so that a missing barrier is noticed. Shared memory is NaN at first.
 */
#include <setjmp.h>
#include <ucontext.h>
#include <cmath>
#include <cstdlib>
#include <cstring>
using std::exp; using std::expm1; using std::fabs; using std::fmax; using std::fmin;
using std::log; using std::log1p; using std::pow; using std::tanh;
struct Dim { unsigned x, y, z; };
static Dim threadIdx, blockIdx, blockDim, gridDim;
#define FUNCTION static inline
#define __global__
#define __launch_bounds__(threads)
#define __shared__ __attribute__((section("shared_memory"))) static
#define HIDDEN __attribute__((weak, visibility("hidden")))
extern HIDDEN char __start_shared_memory[], __stop_shared_memory[];

enum State { READY, AT_BARRIER, IN_WARP, AT_END };
static ucontext_t fibers[1024];
static jmp_buf scheduler, places[1024];
static bool started[1024];
static char *stacks;
static State states[1024];
static unsigned masks[1024], turns[1024];
static char exchanged[2][1024][8];
static void (*current_kernel)(void *);
static void *current_arguments;

static void wait_as(State state) {
    unsigned t = threadIdx.x;
    states[t] = state;
    if (!_setjmp(places[t])) _longjmp(scheduler, 1);
}
static void __syncthreads() { wait_as(AT_BARRIER); }
struct int4 { int x, y, z, w; };
template <class T> static T __ldg(const T *place) { return *place; }
template <class T> static T exchange(unsigned mask, T mine, unsigned lane) {
    unsigned t = threadIdx.x, turn = ++turns[t] % 2;
    masks[t] = mask;
    memcpy(exchanged[turn][t], &mine, sizeof mine);
    wait_as(IN_WARP);
    T other;
    bool inside = lane < 32 && mask >> lane & 1;
    memcpy(&other, exchanged[turn][inside ? t / 32 * 32 + lane : t], sizeof other);
    return other;
}
template <class T> static T __shfl_xor_sync(unsigned mask, T mine, int bits) {
    return exchange(mask, mine, threadIdx.x % 32 ^ bits);
}
template <class T> static T __shfl_down_sync(unsigned mask, T mine, int offset) {
    return exchange(mask, mine, threadIdx.x % 32 + offset);
}
static void run_fiber() {
    for (;;) {
        current_kernel(current_arguments);
        wait_as(AT_END);
    }
}
static void resume(unsigned t) {
    threadIdx.x = t;
    if (_setjmp(scheduler)) return;
    if (started[t]) _longjmp(places[t], 1);
    started[t] = true;
    setcontext(&fibers[t]);
}
/* Run a warp as far as it goes without the others. */
static void run_warp(unsigned first) {
    for (bool moves = true; moves;) {
        for (unsigned t = first; t < first + 32; ++t)
            if (states[t] == READY) resume(t);
        bool complete[32];
        for (unsigned lane = 0; lane < 32; ++lane) {
            unsigned t = first + lane, mask = masks[t];
            complete[lane] = states[t] == IN_WARP;
            for (unsigned other = first; other < first + 32; ++other)
                if (mask >> (other - first) & 1 &&
                    (states[other] != IN_WARP || masks[other] != mask))
                    complete[lane] = false;
        }
        moves = false;
        for (unsigned lane = 0; lane < 32; ++lane)
            if (complete[lane]) states[first + lane] = READY, moves = true;
    }
}
/* Run a block; return 1 where threads wait for others in vain. */
static int run_block(unsigned n) {
    static unsigned random = 1;
    memset(__start_shared_memory, 0xff, __stop_shared_memory - __start_shared_memory);
    for (unsigned t = 0; t < n; ++t) states[t] = READY;
    for (;;) {
        unsigned warps[32], at_barrier = 0, at_end = 0;
        for (unsigned w = 0; w < n / 32; ++w) {
            random = random * 1664525u + 1013904223u;
            unsigned place = (random >> 16) % (w + 1);
            warps[w] = warps[place];
            warps[place] = w;
        }
        for (unsigned w = 0; w < n / 32; ++w) run_warp(32 * warps[w]);
        for (unsigned t = 0; t < n; ++t) {
            at_barrier += states[t] == AT_BARRIER;
            at_end += states[t] == AT_END;
        }
        if (at_end == n) return 0;
        if (at_barrier != n) return 1;
        for (unsigned t = 0; t < n; ++t) states[t] = READY;
    }
}
static int run(Dim grid, unsigned n, void (*kernel)(void *), void *arguments) {
    const size_t size = 65536;
    if (!stacks) stacks = (char *)malloc(1024 * size);
    current_kernel = kernel;
    current_arguments = arguments;
    blockDim = {n, 1, 1};
    gridDim = grid;
    for (unsigned t = 0; t < n; ++t) {
        getcontext(&fibers[t]);
        fibers[t].uc_stack.ss_sp = stacks + t * size;
        fibers[t].uc_stack.ss_size = size;
        makecontext(&fibers[t], run_fiber, 0);
        started[t] = false;
    }
    for (unsigned z = 0; z < grid.z; ++z)
        for (unsigned y = 0; y < grid.y; ++y)
            for (unsigned x = 0; x < grid.x; ++x) {
                blockIdx = {x, y, z};
                if (run_block(n)) return 1;
            }
    return 0;
}
template <class Function> static int run(Dim grid, unsigned n, Function function) {
    return run(grid, n, [](void *f) { (*(Function *)f)(); }, &function);
}
