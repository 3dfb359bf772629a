// The top k over several segments with one shared threshold, and batches of queries over threads.
//
// Segments are searched one after another into the same TopK: what the first taught about the
// threshold prunes the next, and the answer is that of one segment holding all documents, because
// keys carry docids, not positions.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <exception>
#include <mutex>
#include <span>
#include <system_error>
#include <thread>
#include <vector>

#include "blockmax.hpp"
#include "exhaustive.hpp"
#include "scratch.hpp"

namespace lsr {

enum class Algorithm { automatic, exhaustive, blockmax };

// Below this many documents the sweep and the seeds cost more than all rows (engine measurements).
inline constexpr std::uint32_t kSmallSegment = 20000;

struct Part {
    const SegmentView* segment;
    std::span<const std::uint8_t> live;  // empty: every document
};

inline bool use_blockmax(const SegmentView& segment, std::size_t k, Algorithm algorithm, Cpu cpu) {
    if (algorithm == Algorithm::exhaustive || !segment.has_grid) return false;
    if (algorithm == Algorithm::blockmax) return true;
    // A scalar sweep is as dear as the rows, and when k is a good part of the segment nothing can
    // be pruned.
    return cpu != Cpu::portable && segment.n_docs >= kSmallSegment && k <= segment.n_docs / 32;
}

// Best-first keys (topk.hpp); valid until the next search with this scratch. `parts` should start
// with the largest segment.
inline const std::vector<std::uint64_t>& search(std::span<const Part> parts, const Query& query,
                                                std::size_t k, Algorithm algorithm,
                                                Scratch& scratch, Cpu cpu) {
    std::size_t n_docs = 0;
    for (const Part& part : parts) n_docs += part.segment->n_docs;
    k = std::min(k, n_docs);
    scratch.top.reset(k);
    if (k == 0) return scratch.top.finish();
    for (const Part& part : parts) {
        const SegmentView& segment = *part.segment;
        scratch.query.prepare(segment, query);
        if (scratch.query.empty()) continue;
        if (use_blockmax(segment, k, algorithm, cpu)) {
            blockmax(segment, part.live, k, scratch, cpu);
            continue;
        }
        scratch.skip.clear();
        if (!part.live.empty()) {
            scratch.skip.resize(segment.n_pages);
            for (std::uint32_t p = 0; p < segment.n_pages; ++p)
                scratch.skip[p] =
                    detail::dead(part.live, p * kPage, std::min((p + 1) * kPage, segment.n_docs));
        }
        exhaustive(segment, part.live, scratch.skip, scratch, cpu);
    }
    return scratch.top.finish();
}

// results[i] receives the keys of queries[i]. Threads take the next query off a counter; each has
// its own scratch.
inline void search_batch(std::span<const Part> parts, std::span<const Query> queries, std::size_t k,
                         Algorithm algorithm, std::size_t n_threads,
                         std::span<std::vector<std::uint64_t>> results, Cpu cpu) {
    std::atomic<std::size_t> next{0};
    std::exception_ptr failure;
    std::mutex guard;
    auto work = [&] {
        try {
            Scratch scratch;
            for (std::size_t i; (i = next.fetch_add(1)) < queries.size();)
                results[i] = search(parts, queries[i], k, algorithm, scratch, cpu);
        } catch (...) {  // out of memory: the batch fails as a whole, in the caller's thread
            const std::lock_guard<std::mutex> lock(guard);
            failure = std::current_exception();
            next = queries.size();
        }
    };
    n_threads = std::clamp<std::size_t>(n_threads, 1, std::max<std::size_t>(queries.size(), 1));
    std::vector<std::thread> threads;
    try {
        for (std::size_t i = 1; i < n_threads; ++i) threads.emplace_back(work);
    } catch (const std::system_error&) {
        // The machine grants no more threads; those that started share the queries.
    }
    work();
    for (std::thread& thread : threads) thread.join();
    if (failure) std::rethrow_exception(failure);
}

}  // namespace lsr
