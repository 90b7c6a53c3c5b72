// A kernel's threads. One alone makes no team, for that takes longer than some kernels do.
#pragma once

#include <omp.h>
#include <sched.h>

#include <algorithm>
#include <atomic>

#include "vector.h"

INLINE void spin() {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    asm volatile("yield");
#endif
}

// Threads that help one of them with what it shares out, one job after the other. Whoever is free takes the next share: a
// thread that the system has taken off its processor keeps the others waiting for the share that it had begun, and for none
// that it had not. With as many busy neighbours as processors, halves that wait for one another take a time slice each.
class Team {
  public:
    // That of the thread that shares out, if it has one.
    static inline thread_local Team* own = nullptr;

    template <typename Body>
    void share_out(index_t shares, Body& all) {
        run = [](void* body, index_t share, index_t count) { (*static_cast<Body*>(body))(share, count); };
        body = &all;
        left.store(shares, std::memory_order_relaxed);
        uint64_t job = (state.load(std::memory_order_relaxed) >> 32) + 1;
        state.store(job << 32 | uint64_t(shares) << 16, std::memory_order_release);
        while (take()) {
        }
        while (left.load(std::memory_order_acquire) > 0) spin();
    }
    // Until there is nothing more to be shared out.
    void help() {
        for (int idle = 0; !over.load(std::memory_order_acquire);) {
            if (take())
                idle = 0;
            else if (++idle < PATIENCE)
                spin();
            else
                sched_yield();
        }
    }
    void end() { over.store(true, std::memory_order_release); }

  private:
    static constexpr int PATIENCE = 4096;

    // Does the next share of this job, if there is one. Once it is taken the job cannot end, nor the next one begin.
    bool take() {
        uint64_t seen = state.load(std::memory_order_acquire);
        do {
            if ((seen & 0xffff) >= (seen >> 16 & 0xffff)) return false;
        } while (!state.compare_exchange_weak(seen, seen + 1, std::memory_order_acq_rel, std::memory_order_acquire));
        run(body, seen & 0xffff, seen >> 16 & 0xffff);
        left.fetch_sub(1, std::memory_order_release);
        return true;
    }
    // The job's number, how many shares it has (16 bits), and which is next (16 bits).
    alignas(64) std::atomic<uint64_t> state{0};
    alignas(64) std::atomic<index_t> left{0};
    std::atomic<bool> over{false};
    void (*run)(void*, index_t, index_t) = nullptr;
    void* body = nullptr;
};

// body(), whose thread has a team of so many meanwhile, or the one that it has.
template <typename Body>
void with_team(index_t threads, Body body) {
    if (threads <= 1 || Team::own) return body();
    Team team;
#pragma omp parallel num_threads(threads)
    {
        if (omp_get_thread_num() == 0) {
            Team::own = &team;
            body();
            Team::own = nullptr;
            team.end();
        } else {
            team.help();
        }
    }
}

// body(mine, all) on each of so many threads, which may wait for one another.
template <typename Body>
void on_threads(index_t threads, Body body) {
    if (threads <= 1) return body(0, 1);
#pragma omp parallel num_threads(threads)
    body(omp_get_thread_num(), omp_get_num_threads());
}

// body(share, shares) for each of so many shares, or for one that is all; by whichever thread is free.
template <typename Body>
void share_out(index_t threads, index_t shares, Body body) {
    shares = std::min<index_t>(shares, 0xffff);
    if (threads <= 1 || shares <= 1) return body(0, 1);
    if (Team::own) return Team::own->share_out(shares, body);
    with_team(threads, [&] { Team::own->share_out(shares, body); });
}

// How many seconds pass until another thread of a team has begun what it was handed, and this one knows; at the best of a
// few times, and at most PATIENCE each, for it may have been taken off its processor.
inline double answer_of_team(index_t threads) {
    constexpr double PATIENCE = 2e-6;
    double best = PATIENCE;
    for (int i = 0; i < 4; i++) {
        std::atomic<int> there{0};
        double began = omp_get_wtime();
        share_out(threads, 2, [&](index_t, index_t) {
            if (there.fetch_add(1) == 0)
                while (there.load() < 2 && omp_get_wtime() - began < PATIENCE) spin();
        });
        best = std::min(best, omp_get_wtime() - began);
    }
    return best;
}

// How many shares so many bytes of weights make for as many threads: enough that a late one matters little, and each long
// enough to be read straight on.
INLINE index_t shares_of(index_t bytes, index_t threads) {
    return threads * std::clamp<index_t>(bytes / threads >> 17, 1, 8);
}

// body(i) for every i below `count`, one by one: whoever is free takes the next.
template <typename Body>
void one_by_one(index_t count, index_t threads, Body body, index_t shares) {
    share_out(threads, shares, [&](index_t mine, index_t all) {
        for (index_t i = count * mine / all; i < count * (mine + 1) / all; i++) body(i);
    });
}
template <typename Body>
void one_by_one(index_t count, index_t threads, Body body) {
    one_by_one(count, threads, body, count);
}

// The same where all take about as long, in a few even parts.
template <typename Body>
void for_each(index_t count, index_t threads, Body body) {
    one_by_one(count, threads, body, std::min(count, 2 * threads));
}
