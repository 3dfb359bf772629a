// A query against one segment: its terms resolved, heaviest first, and the fixed-point scale of the
// block bounds.
//
// Scores fit u32: weights are at most 4,095, impacts at most 255, terms at most 4,112, and
// 4,095 x 255 x 4,112 = 4,293,853,200 < 2^32. The Python face refuses longer queries and heavier
// weights.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <vector>

#include "segment_view.hpp"

namespace lsr {

inline constexpr std::size_t kMaxQueryTerms = 4112;
inline constexpr std::uint32_t kMaxQueryWeight = 4095;

// Distinct terms with weights 1..4095.
struct Query {
    std::span<const std::uint32_t> terms;
    std::span<const std::uint16_t> weights;
};

// Round a float query to 12 bits, the heaviest term to 4,095, as index/quantize.py defines it: in
// doubles and without fused multiply-adds, so that every machine rounds alike. Writes to `steps`
// and returns the heaviest weight, or 0 for a query that is empty or unusual: terms that do not
// ascend or leave the vocabulary, weights that are not finite and positive. Python then merges or
// refuses.
inline double quantise(std::span<const std::int32_t> terms, std::span<const float> weights,
                       std::size_t n_terms, std::uint16_t* steps) {
    std::int64_t previous = -1;
    float heaviest = 0;
    for (std::size_t i = 0; i < terms.size(); ++i) {
        if (terms[i] <= previous || std::size_t(terms[i]) >= n_terms) return 0;
        if (!(weights[i] > 0 && weights[i] <= std::numeric_limits<float>::max())) return 0;
        previous = terms[i];
        heaviest = std::max(heaviest, weights[i]);
    }
    for (std::size_t i = 0; i < terms.size(); ++i)
        steps[i] = std::uint16_t(
            std::max(double(weights[i]) / double(heaviest) * kMaxQueryWeight + 0.5, 1.0));
    return double(heaviest);
}

struct HeadTerm {
    std::uint32_t head;
    std::uint32_t weight;
    std::uint32_t bound;  // weight x largest impact of the term in this segment
};

struct TailTerm {
    std::span<const std::uint32_t> positions;  // ascending
    std::span<const std::uint8_t> impacts;
    std::uint32_t weight;
};

// Fixed point: a score s becomes floor(s x factor / 2^32), at most 65,535 for the largest score
// this query can reach here, so that block bounds fit u16.
struct Prepared {
    std::vector<HeadTerm> heads;  // largest bound first
    std::vector<TailTerm> tails;
    std::uint64_t factor = 0;

    bool empty() const { return heads.empty() && tails.empty(); }

    std::uint32_t floor_bound(std::uint32_t score) const {
        // score x factor <= 65,535 x 2^32 for any score <= the sum of bounds, so 64 bits hold it. A
        // threshold taken from another segment may exceed that sum: then no document here reaches
        // it, and 65,536 says so.
        if (score > total) return 65536;
        return std::uint32_t((std::uint64_t(score) * factor) >> 32);
    }
    // The largest score whose floor_bound is at most `bound`.
    std::uint64_t largest_score(std::uint32_t bound) const {
        if (factor == 0) return 0;
        return std::min<std::uint64_t>(((std::uint64_t(bound) + 1) << 32) / factor, total);
    }
    std::uint16_t ceil_bound(std::uint32_t score) const {
        const std::uint64_t up = (std::uint64_t(score) * factor + 0xFFFFFFFFull) >> 32;
        return std::uint16_t(std::min<std::uint64_t>(up, 65535));
    }

    std::uint64_t total = 0;  // the largest score any document of this segment can reach

    void prepare(const SegmentView& segment, const Query& query) {
        heads.clear();
        tails.clear();
        total = 0;
        for (std::size_t i = 0; i < query.terms.size(); ++i) {
            const std::uint32_t term = query.terms[i];
            const std::uint32_t weight = query.weights[i];
            if (term >= segment.n_terms || weight == 0) continue;
            const std::uint32_t bound = weight * segment.max_impact[term];
            if (bound == 0) continue;  // the segment holds no posting of this term
            total += bound;
            if (const std::uint32_t head = segment.head(term); head != SegmentView::kTail) {
                heads.push_back({head, weight, bound});
            } else {
                const std::size_t begin = segment.tail_start[term];
                const std::size_t n = segment.tail_start[term + 1] - begin;
                tails.push_back({segment.tail_doc.subspan(begin, n),
                                 segment.tail_impact.subspan(begin, n), weight});
            }
        }
        std::sort(heads.begin(), heads.end(), [](const HeadTerm& a, const HeadTerm& b) {
            return a.bound != b.bound ? a.bound > b.bound : a.head < b.head;
        });
        factor = total == 0 ? 0 : (65535ull << 32) / total;
    }
};

}  // namespace lsr
