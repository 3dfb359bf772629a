// What a search is asked, when it must stop, and what it says of itself.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <limits>

#include "query.hpp"

namespace lsr {

enum class Algorithm { automatic, exhaustive, blockmax };

// Asked between chunks of some 100 microseconds of work: one clock reading of 25 ns each.
struct Stop {
    using Clock = std::chrono::steady_clock;

    Clock::time_point deadline = Clock::time_point::max();
    const std::atomic<bool>* cancelled = nullptr;

    bool now() const {
        return (cancelled && cancelled->load(std::memory_order_relaxed)) ||
               (deadline != Clock::time_point::max() && Clock::now() >= deadline);
    }
};

struct Request {
    Query query;
    std::size_t k = 10;
    Algorithm algorithm = Algorithm::automatic;
    std::size_t pages = 0;  // score so many best pages at most; 0: as many as exactness needs
    bool by_group = false;  // the best passage of each group only
    const Stop* stop = nullptr;
};

// How an answer came about.
struct Report {
    std::uint64_t pages = 0, pages_scored = 0, blocks_scored = 0;
    std::uint64_t skipped = 0;  // no document that was left alone scores more
    bool blockmax = false, exhaustive = false;
    bool stopped = false;
    bool exact = false;  // what was left alone cannot change the answer

    void skip(std::uint64_t score) { skipped = std::max(skipped, score); }
};

}  // namespace lsr
