/* The arithmetic of one element, in plain functions without threads or memory. The
 * functions of the energy itself follow this file.
 *
 * Set when compiled:
 *   REAL        float or double
 *   GROWTH      of the energy F: one of the three below
 *   POWER       n, where F grows as x^n
 *   RECTIFIED   1: F is 0 up to x = 0
 *   DIFFERENCE  1: exact update by differences of energy; 0: its feedforward dual
 *   STEEP       1: values would leave REAL's range, and are carried with a logarithm
 *
 * Overlaps x are in units of the temperature, as everywhere.
 */
#define LINEAR_GROWTH 0
#define POWER_GROWTH 1
#define EXPONENTIAL_GROWTH 2

#define IS_POWER (GROWTH == POWER_GROWTH)

typedef REAL real;

#define NONE ((real)LOWEST)

/* F(x), f(x) = F'(x) and f'(x). */
FUNCTION real value(real x);
FUNCTION real activation(real x);
FUNCTION real slope(real x);

/* x^k for k in {n, n-1, n-2}; rectified it is 0 for x <= 0, whatever k. */
FUNCTION real power_of(real x, double k) {
    if (RECTIFIED && !(x > 0)) return 0;
    if (k <= 0) return k == 0 || !RECTIFIED ? (real)1 : (real)pow(x, (real)k);
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

/* Steep energies: |x|^k = exp(k size(x)), and e^x likewise with k = 1. */
FUNCTION real size(real x) {
    if (!IS_POWER) return x;
    if (RECTIFIED && x < 0) return NONE;
    return (real)log(fabs(x));
}

/* The k of F (lowered = 0), f (1) and f' (2). */
FUNCTION real exponent(int lowered) {
    return IS_POWER ? (real)(POWER - lowered) : (real)1;
}

/* F, f or f' without its constant factor, times exp(log_weight). */
FUNCTION real scaled(real x, int lowered, real log_weight) {
    real logarithm = size(x);
    if (!(logarithm > NONE) || !(log_weight > NONE)) return 0;
    real result = (real)exp(exponent(lowered) * logarithm + log_weight);
    int odd = ((long long)POWER - lowered) & 1;
    return IS_POWER && !RECTIFIED && odd && x < 0 ? -result : result;
}

/* The largest overlap that flipping any one unit can lead to: no |xi| is above 1. */
FUNCTION real lifted(real x, real inverse_temperature) {
    real flip = 2 * inverse_temperature;
    return IS_POWER && !RECTIFIED ? fabs(x) + flip : x + flip;
}

/* F(x + d) - F(x), times exp(-log_scale) where steep, without cancellation. */
FUNCTION real rise(real x, real d, real log_scale) {
    real to = x + d;
    if (GROWTH == EXPONENTIAL_GROWTH) return (real)(exp(x - log_scale) * expm1(d));
    if (IS_POWER) {
        int signs_agree = (x > 0 && to > 0) || (x < 0 && to < 0);
        if (RECTIFIED && x <= 0 && to <= 0) return 0;
        if (!STEEP && POWER == (double)(int)POWER && POWER <= 4 &&
            (!RECTIFIED || signs_agree)) {
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
