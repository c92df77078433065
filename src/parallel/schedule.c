#include "parallel/parallel.h"

// Forward passes before the first backward pass.
static int64_t ahead(int stage, int stages, int64_t micros) {
    int64_t behind = stages - stage;
    return behind < micros ? behind : micros;
}

int schedule_flights(int stage, int stages) { return stages - stage; }

// Steps: `ahead` forward passes, then backward and forward in turn, then the backward passes that are left.
schedule_step schedule_at(int64_t i, int stage, int stages, int64_t micros) {
    int64_t first = ahead(stage, stages, micros), turns = 2 * (micros - first);
    bool backward = false;
    int64_t micro = i;
    if (i >= first + turns) {
        backward = true;
        micro = i - micros;
    } else if (i >= first) {
        backward = (i - first) % 2 == 0;
        micro = backward ? (i - first) / 2 : first + (i - first) / 2;
    }
    return (schedule_step){backward, micro, (int)(micro % schedule_flights(stage, stages))};
}
