// A kernel's threads. One alone makes no team, for that takes longer than some kernels do.
#pragma once

#include <omp.h>

#include "vector.h"

// body(mine, all) on each of so many threads.
template <typename Body>
void on_threads(index_t threads, Body body) {
    if (threads <= 1) return body(0, 1);
#pragma omp parallel num_threads(threads)
    body(omp_get_thread_num(), omp_get_num_threads());
}

// body(i) for every i below `count`, in as many even parts as there are threads.
template <typename Body>
void for_each(index_t count, index_t threads, Body body) {
    on_threads(threads, [&](index_t mine, index_t all) {
        for (index_t i = count * mine / all; i < count * (mine + 1) / all; i++) body(i);
    });
}
