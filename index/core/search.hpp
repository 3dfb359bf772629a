// The top k over several segments with one shared threshold, and batches of queries over threads.
//
// Segments are searched one after another into the same TopK: what the first taught about the
// threshold prunes the next, and the answer is that of one segment holding all documents, because
// keys carry docids, not positions.
#pragma once

#include <algorithm>
#include <atomic>
#include <bit>
#include <cstdint>
#include <exception>
#include <mutex>
#include <span>
#include <system_error>
#include <thread>
#include <vector>

#include "blockmax.hpp"
#include "exhaustive.hpp"
#include "forward.hpp"
#include "request.hpp"
#include "scratch.hpp"

namespace lsr {

// Below this many documents the sweep and the seeds cost more than all rows (engine measurements).
inline constexpr std::uint32_t kSmallSegment = 20000;

// Rows in order that cost as much as a document alone.
inline constexpr std::size_t kRowsInOrder = 12;

struct Part {
    const SegmentView* segment;
    Live live;
};

namespace detail {

// Whether bounds can leave out enough pages to pay for themselves. k of the live documents reach as
// far down as k x n_docs / n_live of all do; where that is more than the pages, most pages are
// scored (k = 1000 of 200,000: 70 to 90 % of them), and a page costs half more alone than in order.
// Few live documents are scored one by one, so fewer pages left out pay.
inline bool use_blockmax(const SegmentView& segment, std::size_t n_live, const Request& request,
                         std::size_t k, Cpu cpu) {
    if (request.algorithm == Algorithm::exhaustive || !segment.has_grid) return false;
    if (request.algorithm == Algorithm::blockmax || request.pages) return true;
    // A scalar sweep is as dear as the rows.
    if (cpu == Cpu::portable || segment.n_docs < kSmallSegment) return false;
    return k <= n_live / (is_sparse(segment, n_live) ? kBlock : kPage);
}

// Whether scoring the live documents one by one beats a sweep, whose cost is that of 1/512 of them,
// or, where `pruned` is false, all rows: a document costs as much as a dozen of them.
inline bool use_forward(const Part& part, std::size_t n_live, const Request& request,
                        std::size_t n_heads, bool pruned) {
    const SegmentView& segment = *part.segment;
    if (!segment.has_forward() || part.live.all() || request.algorithm != Algorithm::automatic)
        return false;
    return n_live <= segment.n_docs / 512 ||
           (!pruned && n_live * kRowsInOrder <= n_heads * segment.n_pages);
}

inline void search_part(const Part& part, const Request& request, std::size_t budget,
                        Scratch& scratch, Cpu cpu, Report& report) {
    const SegmentView& segment = *part.segment;
    scratch.query.prepare(segment, request.query);
    const std::size_t n_live = count_live(segment, part.live, cpu);
    const bool pruned = use_blockmax(segment, n_live, request, scratch.top.k(), cpu);
    if (scratch.query.empty()) {
        report.pages += segment.n_pages;
    } else if (report.stopped || (request.stop && request.stop->now())) {
        report.pages += segment.n_pages;
        report.stopped = true;
        report.skip(scratch.query.total);
    } else if (use_forward(part, n_live, request, scratch.query.heads.size(), pruned)) {
        forward(segment, part.live, request, scratch, report);
    } else if (pruned) {
        blockmax(segment, part.live, n_live, request, budget, scratch, cpu, report);
    } else {
        scratch.skip.clear();
        report.pages += segment.n_pages;
        report.pages_scored += segment.n_pages;
        report.blocks_scored += std::uint64_t(segment.n_pages) * kBlocksPerPage;
        report.exhaustive = true;
        if (!part.live.all()) {
            scratch.skip.assign(segment.n_pages, 1);
            for (std::size_t b = 0; b < part.live.words.size(); ++b)
                if (part.live.words[b]) scratch.skip[b / kBlocksPerPage] = 0;
        }
        exhaustive(segment, part.live, scratch.skip, request, scratch, cpu, report);
    }
}

}  // namespace detail

// Best-first keys (topk.hpp); valid until the next search with this scratch. `parts` should start
// with the largest segment. A search that was stopped answers with the best found so far.
inline const std::vector<std::uint64_t>& search(std::span<const Part> parts, const Request& request,
                                                Scratch& scratch, Cpu cpu, Report& report) {
    report = {};
    std::uint64_t n_docs = 0, most = 0;
    for (const Part& part : parts) n_docs += part.segment->n_docs;
    // No impact exceeds 255, whatever the segment.
    for (const std::uint16_t weight : request.query.weights) most += 255ull * weight;
    const std::size_t k = std::size_t(std::min<std::uint64_t>(request.k, n_docs));
    scratch.begin(request.query);
    scratch.top.reset(k, std::uint32_t(std::min<std::uint64_t>(most, 0xFFFFFFFFu)),
                      request.by_group);
    // More pages than documents there are not, and their products fit 64 bits.
    const std::uint64_t pages = std::min<std::uint64_t>(request.pages, n_docs);
    for (const Part& part : parts) {
        if (k == 0) break;
        // Each segment gets its share of the budget, by documents.
        const std::size_t budget =
            std::size_t((pages * std::uint64_t(part.segment->n_docs) + n_docs - 1) / n_docs);
        detail::search_part(part, request, budget, scratch, cpu, report);
        scratch.top.tighten();
    }
    const std::vector<std::uint64_t>& keys = scratch.top.finish();
    const std::uint64_t theta = keys.size() < k || k == 0 ? 0 : keys.back() >> 32;
    report.exact = report.skipped == 0 || report.skipped < theta;
    return keys;
}

// results[i] and reports[i] receive the answer of requests[i]. Threads take the next query off a
// counter; each has its own scratch. `idle` is called now and then by the calling thread; when it
// returns true the queries not begun yet are left unanswered.
template <class Idle>
void search_batch(std::span<const Part> parts, std::span<const Request> requests,
                  std::size_t n_threads, std::span<std::vector<std::uint64_t>> results,
                  std::span<Report> reports, Cpu cpu, Idle&& idle) {
    std::atomic<std::size_t> next{0};
    std::exception_ptr failure;
    std::mutex guard;
    const std::thread::id caller = std::this_thread::get_id();
    auto work = [&] {
        try {
            Scratch scratch;
            for (std::size_t i; (i = next.fetch_add(1)) < requests.size();) {
                results[i] = search(parts, requests[i], scratch, cpu, reports[i]);
                if (std::this_thread::get_id() == caller && idle()) next = requests.size();
            }
        } catch (...) {  // out of memory: the batch fails as a whole, in the caller's thread
            const std::lock_guard<std::mutex> lock(guard);
            failure = std::current_exception();
            next = requests.size();
        }
    };
    n_threads = std::clamp<std::size_t>(n_threads, 1, std::max<std::size_t>(requests.size(), 1));
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
