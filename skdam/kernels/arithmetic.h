/* The arithmetic of one element, in plain functions without threads or memory: the CUDA
 * kernels call them, and tests compile the same text with the host's compiler.
 *
 * Set when compiled:
 *   REAL        float or double
 *   ENERGY      one of the numbers below
 *   POWER       n of the interaction vertex, for the powers
 *   DIFFERENCE  1: exact update by differences of energy; 0: its feedforward dual
 *   STEEP       1: values would leave REAL's range, and are carried with a logarithm
 *   LOSS        0: power objective, 1: cross-entropy
 *
 * Overlaps x are in units of the temperature, as everywhere.
 */
#define RECTIFIED_POLYNOMIAL 0
#define POLYNOMIAL 1
#define LOG_COSH 2
#define SOFTPLUS 3
#define EXPONENTIAL 4

#define IS_POWER (ENERGY == RECTIFIED_POLYNOMIAL || ENERGY == POLYNOMIAL)

typedef REAL real;

/* A hash of 32 bits, the same as in cues.py. */
FUNCTION unsigned hashed(unsigned number) {
    number ^= number >> 16;
    number *= 0x7feb352dU;
    number ^= number >> 15;
    number *= 0x846ca68bU;
    return number ^ (number >> 16);
}

/* What disturbs a feature of a sample in the epoch of a key. */
FUNCTION unsigned bits_of(unsigned sample, unsigned feature, unsigned key) {
    return hashed(hashed(key + hashed(sample)) + feature * 0x9e3779b9U);
}

/* Evenly distributed between -largest and largest. */
FUNCTION real noise(unsigned bits, real largest) {
    return (real)bits * (2 * largest / (real)4294967296.0) - largest;
}

#define NONE ((real)LOWEST)

/* x^k for k in {n, n-1, n-2}; rectified it is 0 for x <= 0, whatever k. */
FUNCTION real power_of(real x, double k) {
    if (ENERGY == RECTIFIED_POLYNOMIAL && !(x > 0)) return 0;
    if (k <= 0) return k == 0 || ENERGY == POLYNOMIAL ? (real)1 : (real)pow(x, (real)k);
    if (k == (double)(int)k && k <= 32) {
        real result = 1, square = x;
        for (int left = (int)k; left > 0; left >>= 1) {
            if (left & 1) result *= square;
            square *= square;
        }
        return result;
    }
    return (real)pow(x, (real)k);
}

/* F(x) */
FUNCTION real value(real x) {
    if (IS_POWER) return power_of(x, POWER);
    real decay = (real)exp(-fabs(ENERGY == LOG_COSH ? 2 * x : x));
    if (ENERGY == LOG_COSH) return fabs(x) + log1p(decay) - (real)0.6931471805599453;
    if (ENERGY == SOFTPLUS) return (x > 0 ? x : (real)0) + log1p(decay);
    return (real)exp(x);
}

/* f(x) = F'(x) */
FUNCTION real activation(real x) {
    if (IS_POWER) return (real)POWER * power_of(x, POWER - 1.0);
    if (ENERGY == LOG_COSH) return (real)tanh(x);
    if (ENERGY == SOFTPLUS) {
        real decay = (real)exp(-fabs(x));
        return (x >= 0 ? (real)1 : decay) / (1 + decay);
    }
    return (real)exp(x);
}

/* f'(x) */
FUNCTION real slope(real x) {
    if (IS_POWER) return (real)(POWER * (POWER - 1.0)) * power_of(x, POWER - 2.0);
    real decay = (real)exp(-fabs(ENERGY == LOG_COSH ? 2 * x : x));
    if (ENERGY == LOG_COSH) return 4 * decay / ((1 + decay) * (1 + decay));
    if (ENERGY == SOFTPLUS) return decay / ((1 + decay) * (1 + decay));
    return (real)exp(x);
}

/* Steep energies: |x|^k = exp(k size(x)), and e^x likewise with k = 1. */
FUNCTION real size(real x) {
    if (ENERGY == EXPONENTIAL) return x;
    if (ENERGY == RECTIFIED_POLYNOMIAL && x < 0) return NONE;
    return (real)log(fabs(x));
}

/* The k of F (lowered = 0), f (1) and f' (2). */
FUNCTION real exponent(int lowered) {
    return ENERGY == EXPONENTIAL ? (real)1 : (real)(POWER - lowered);
}

/* F, f or f' without its constant factor, times exp(log_weight). */
FUNCTION real scaled(real x, int lowered, real log_weight) {
    real logarithm = size(x);
    if (!(logarithm > NONE) || !(log_weight > NONE)) return 0;
    real result = (real)exp(exponent(lowered) * logarithm + log_weight);
    int odd = ((long long)POWER - lowered) & 1;
    return ENERGY == POLYNOMIAL && odd && x < 0 ? -result : result;
}

/* The largest overlap that flipping any one unit can lead to: no |xi| is above 1. */
FUNCTION real lifted(real x, real inverse_temperature) {
    real flip = 2 * inverse_temperature;
    return ENERGY == POLYNOMIAL ? fabs(x) + flip : x + flip;
}

/* F(x + d) - F(x), times exp(-log_scale) where steep, without cancellation. */
FUNCTION real rise(real x, real d, real log_scale) {
    real to = x + d;
    if (ENERGY == EXPONENTIAL) return (real)(exp(x - log_scale) * expm1(d));
    if (IS_POWER) {
        int signs_agree = (x > 0 && to > 0) || (x < 0 && to < 0);
        if (ENERGY == RECTIFIED_POLYNOMIAL && x <= 0 && to <= 0) return 0;
        if (!STEEP && POWER == (double)(int)POWER && POWER <= 4 &&
            (ENERGY == POLYNOMIAL || signs_agree)) {
            /* d ((x+d)^(n-1) + (x+d)^(n-2) x + ... + x^(n-1)) */
            real sum = 1, power = 1;
            for (int j = 1; j < (int)POWER; ++j) {
                power *= x;
                sum = sum * to + power;
            }
            return d * sum;
        }
        if (signs_agree && (real)POWER * fabs(d) <= fabs(x)) {
            /* A small rise, where a plain difference would lose digits. */
            real relative = (real)expm1((real)POWER * log1p(d / x));
            return relative * (STEEP ? scaled(x, 0, -log_scale) : value(x));
        }
        if (STEEP) return scaled(to, 0, -log_scale) - scaled(x, 0, -log_scale);
    }
    return value(to) - value(x);
}

/* ln(1 + e^-|x|) */
FUNCTION real tail(real x) { return (real)log1p(exp(-fabs(x))); }

/* Power objective in margin form: ln of a unit's error, with t = +-1 the target. */
FUNCTION real log_error(real score, real target, real m) {
    real margin = 2 * target * score;
    return -2 * m * ((margin > 0 ? margin : (real)0) + tail(margin));
}

/* ln |dC/ds|, whose sign is -t. */
FUNCTION real log_slope_of_error(real score, real target, real m) {
    real margin = 2 * target * score;
    real below = (margin < 0 ? -margin : (real)0) + tail(margin);
    return log_error(score, target, m) - below + (real)log(4 * m);
}
