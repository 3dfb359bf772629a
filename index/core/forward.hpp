// Scores of single documents from their stored vectors: what is left when a filter keeps few
// documents of a page. The rows of a page cost the same for one document as for all.
//
// A stored weight is a float16; `impact_of` gives its impact, by the table that gave the posting
// its impact, so the score is the same to the last bit.
//
// Safety: ends of documents are compared with the number of postings and terms with the
// vocabulary before use, so corrupt bytes read nothing else.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <vector>

#include "accumulate.hpp"
#include "scratch.hpp"
#include "segment_view.hpp"

namespace lsr {

// A page is scored document by document up to one live document in kRowsPerSingle query terms. A
// document costs as much as three rows, but most pages are given up after a quarter of their rows.
// Half or twice as many cost 5 to 10 % under filters of 1 % and 10 %.
inline constexpr std::size_t kRowsPerSingle = 9;
// After the first phase a page goes on document by document up to one left in so many later rows.
inline constexpr std::size_t kRowsPerLateSingle = 5;
inline constexpr std::size_t kSingles = 256;  // documents gathered before they are scored

namespace detail {

struct Posting {
    std::uint64_t begin, end;
};

inline Posting postings_of(const SegmentView& segment, std::uint32_t position) {
    const std::uint64_t begin = segment.forward_start[position];
    const std::uint64_t end = segment.forward_start[position + 1];
    if (begin > end || end > segment.forward_weight.size()) [[unlikely]]
        return {0, 0};
    return {begin, end};
}

template <class Term>
inline std::uint32_t forward_score(std::span<const Term> terms, const SegmentView& segment,
                                   std::span<const std::uint16_t> weight_of, Posting postings) {
    std::uint32_t score = 0;
    for (std::uint64_t i = postings.begin; i < postings.end; ++i) {
        const std::uint32_t term = terms[i];
        if (term >= weight_of.size()) [[unlikely]]
            continue;
        score += std::uint32_t(weight_of[term]) * segment.impact_of[segment.forward_weight[i]];
    }
    return score;
}

// Gather the live documents of a block.
inline void queue_block(const SegmentView& segment, std::uint32_t block, Live live,
                        Scratch& scratch) {
    for (std::uint32_t left = live.block(block); left; left &= left - 1) {
        const std::uint32_t position = block * kBlock + std::uint32_t(std::countr_zero(left));
        if (position < segment.n_docs) scratch.singles.push_back(position);
    }
}

// Score and offer the gathered documents; the vectors of later ones are fetched meanwhile.
inline void score_singles(const SegmentView& segment, Scratch& scratch) {
    std::vector<std::uint32_t>& singles = scratch.singles;
    if (singles.empty()) return;
    const std::span<const std::uint16_t> weight_of = scratch.dense_query(segment.n_terms);
    // All lines of a vector, of long ones the first 16: leaving out those beyond the fourth, or the
    // line in which it ends, cost a fifth to a third of a document.
    auto fetch = [](Posting postings, auto array) {
        const auto begin = reinterpret_cast<std::uintptr_t>(array.data() + postings.begin);
        const auto end = reinterpret_cast<std::uintptr_t>(array.data() + postings.end);
        const std::uintptr_t first = begin / 64 * 64;
        for (std::uintptr_t line = first; line < std::min(end, first + 16 * 64); line += 64)
            LSR_PREFETCH(reinterpret_cast<const char*>(line));
    };
    for (std::size_t i = 0; i < singles.size(); ++i) {
        if (i + 8 < singles.size()) LSR_PREFETCH(&segment.forward_start[singles[i + 8]]);
        if (i + 4 < singles.size()) {
            const Posting later = postings_of(segment, singles[i + 4]);
            fetch(later, segment.forward_weight);
            if (segment.forward_term16.empty())
                fetch(later, segment.forward_term32);
            else
                fetch(later, segment.forward_term16);
        }
        const std::uint32_t position = singles[i];
        const Posting postings = postings_of(segment, position);
        const std::uint32_t score =
            segment.forward_term16.empty()
                ? forward_score(segment.forward_term32, segment, weight_of, postings)
                : forward_score(segment.forward_term16, segment, weight_of, postings);
        if (score < std::max(scratch.top.theta(), 1u)) continue;
        if (scratch.top.by_group())
            scratch.top.offer(score, segment.external[position], segment.group_of(position));
        else
            scratch.top.offer(score, segment.external[position]);
    }
    singles.clear();
}

}  // namespace detail

// Score every live document of a segment that stores its vectors, one by one.
inline void forward(const SegmentView& segment, Live live, const Request& request, Scratch& scratch,
                    Report& report) {
    report.pages += segment.n_pages;
    for (std::uint32_t block = 0; block < live.words.size(); ++block) {
        if (!live.words[block]) continue;
        ++report.blocks_scored;
        detail::queue_block(segment, block, live, scratch);
        if (scratch.singles.size() < kSingles) continue;
        detail::score_singles(segment, scratch);
        scratch.top.tighten();
        if (request.stop && request.stop->now()) {
            report.stopped = true;
            report.skip(scratch.query.total);
            return;
        }
    }
    detail::score_singles(segment, scratch);
}

}  // namespace lsr
