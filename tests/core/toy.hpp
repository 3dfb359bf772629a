// Toy collections, a segment writer that follows FORMAT.md naively, and the brute-force ranking.
//
// Nothing here knows how a search works, and only `lay_out` knows how postings are stored: the
// oracle reads the documents.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <map>
#include <numeric>
#include <random>
#include <set>
#include <span>
#include <vector>

#include "segment_view.hpp"

namespace toy {

// The same numbers on every machine and library, which std's distributions do not promise.
class Random {
public:
    explicit Random(std::uint64_t seed) : engine_(seed) {}
    std::uint32_t below(std::uint32_t n) { return std::uint32_t(engine_() % n); }
    bool chance(std::uint32_t percent) { return below(100) < percent; }
    template <class T>
    T one_of(std::initializer_list<T> values) {
        return values.begin()[below(std::uint32_t(values.size()))];
    }

private:
    std::mt19937_64 engine_;
};

struct Posting {
    std::uint32_t term;
    std::uint8_t impact;
};

struct Collection {
    std::uint32_t n_terms = 0;
    std::vector<std::vector<Posting>> documents;  // by position, terms ascending
    std::vector<std::uint32_t> docids;            // by position, distinct
    std::vector<std::uint32_t> groups;            // by position, or empty: each its own

    std::uint32_t group_of(std::size_t d) const { return groups.empty() ? docids[d] : groups[d]; }
};

// Zipf-like terms; few impact levels make ties, the hard part of exactness. Neighbours share a
// topic, so that blocks differ and bounds prune.
inline Collection random_collection(Random& random, std::uint32_t n_docs, std::uint32_t n_terms,
                                    std::uint32_t mean, std::uint32_t levels,
                                    std::uint32_t first_docid) {
    Collection collection{n_terms, std::vector<std::vector<Posting>>(n_docs), {}, {}};
    for (std::uint32_t d = 0; d < n_docs; ++d) {
        std::map<std::uint32_t, std::uint8_t> terms;
        const std::uint32_t n = random.below(2 * mean + 1), topic = d / 100 * 7919;
        for (std::uint32_t i = 0; i < n; ++i) {
            const std::uint32_t rank = random.below(random.below(n_terms) + 1);
            const std::uint32_t term = random.chance(50) ? rank : (rank + topic) % n_terms;
            const std::uint32_t level = random.below(levels) + 1;
            terms[term] = std::uint8_t(level * (255 / levels));
        }
        for (const auto& [term, impact] : terms) collection.documents[d].push_back({term, impact});
    }
    collection.docids.resize(n_docs);
    std::iota(collection.docids.begin(), collection.docids.end(), first_docid);
    for (std::uint32_t d = n_docs; d > 1; --d)
        std::swap(collection.docids[d - 1], collection.docids[random.below(d)]);
    if (random.chance(50))
        for (const std::uint32_t docid : collection.docids)
            collection.groups.push_back(docid / 3 * 3);
    return collection;
}

// The impact of a stored weight: its low byte.
inline std::span<const std::uint8_t> impact_of() {
    static const std::vector<std::uint8_t> table = [] {
        std::vector<std::uint8_t> all(65536);
        std::iota(all.begin(), all.end(), std::uint8_t(0));
        return all;
    }();
    return table;
}

// The arrays of a segment. Each is exactly as long as it must be, so that a sanitizer sees the
// first byte read beyond it.
struct Arrays {
    std::uint32_t n_docs = 0;
    std::vector<std::uint16_t> head_rank16;
    std::vector<std::uint32_t> head_rank32;
    std::vector<std::uint8_t> max_impact, codebook, grid;
    std::vector<std::uint32_t> row_group;
    std::vector<std::uint16_t> row_dir;
    std::vector<std::uint64_t> row_base;
    std::vector<std::uint8_t> rows;
    std::vector<std::uint32_t> tail_start, tail_doc;
    std::vector<std::uint8_t> tail_impact;
    std::vector<std::uint32_t> external, group;
    std::vector<std::uint64_t> forward_start;
    std::vector<std::uint16_t> forward_term16;
    std::vector<std::uint32_t> forward_term32;
    std::vector<std::uint16_t> forward_weight;  // here simply the impact

    // Borrows the arrays; `check` has not run.
    lsr::SegmentView view() const {
        lsr::SegmentView view;
        view.n_docs = n_docs;
        view.head_rank16 = head_rank16, view.head_rank32 = head_rank32;
        view.max_impact = max_impact, view.codebook = codebook, view.grid = grid;
        view.row_group = row_group, view.row_dir = row_dir, view.row_base = row_base;
        view.rows = rows, view.tail_start = tail_start, view.tail_doc = tail_doc;
        view.tail_impact = tail_impact, view.external = external, view.group = group;
        view.forward_start = forward_start, view.forward_weight = forward_weight;
        view.forward_term16 = forward_term16, view.forward_term32 = forward_term32;
        if (!forward_start.empty()) view.impact_of = impact_of();
        return view;
    }
};

// 16 codes, the first 0, the last the largest maximum; a cell takes the least code that is enough.
inline std::vector<std::uint8_t> codes_of(const std::vector<std::uint8_t>& block_max) {
    std::set<std::uint8_t> distinct(block_max.begin(), block_max.end());
    distinct.erase(0);
    const std::vector<std::uint8_t> sorted(distinct.begin(), distinct.end());
    std::vector<std::uint8_t> codes(lsr::kCodes, 0);
    if (sorted.empty()) return codes;
    for (std::size_t c = 1; c < lsr::kCodes; ++c)
        codes[c] = sorted[(c * sorted.size() + lsr::kCodes - 2) / (lsr::kCodes - 1) - 1];
    return codes;
}

struct Layout {
    std::uint32_t head_df = 64;  // a term in so many documents is a head
    bool grid = true;
    bool wide = false;     // 32 bits for terms and head ranks
    bool forward = false;  // keep the vectors
};

inline Arrays lay_out(const Collection& collection, const Layout& layout) {
    struct Place {
        std::uint32_t position;
        std::uint8_t impact;
    };
    Arrays out;
    const std::uint32_t n_docs = std::uint32_t(collection.documents.size());
    const std::uint32_t n_pages = (n_docs + lsr::kPage - 1) / lsr::kPage;
    const std::size_t stride = (std::size_t(n_pages) * lsr::kBlocksPerPage + 63) / 64 * 64;
    out.n_docs = n_docs;
    out.external = collection.docids;
    out.group = collection.groups;
    if (layout.forward) {
        out.forward_start = {0};
        for (const std::vector<Posting>& document : collection.documents) {
            for (const Posting& posting : document) {
                if (layout.wide)
                    out.forward_term32.push_back(posting.term);
                else
                    out.forward_term16.push_back(std::uint16_t(posting.term));
                out.forward_weight.push_back(posting.impact);
            }
            out.forward_start.push_back(out.forward_weight.size());
        }
    }
    out.max_impact.assign(collection.n_terms, 0);
    out.row_base = {0};
    out.tail_start = {0};
    std::vector<std::vector<Place>> lists(collection.n_terms);
    for (std::uint32_t d = 0; d < n_docs; ++d)
        for (const Posting& posting : collection.documents[d]) {
            lists[posting.term].push_back({d, posting.impact});
            out.max_impact[posting.term] = std::max(out.max_impact[posting.term], posting.impact);
        }
    std::uint32_t n_heads = 0;
    for (const std::vector<Place>& list : lists) {
        const bool head = list.size() >= layout.head_df;
        const std::uint32_t rank = head ? n_heads++ : 0xFFFFFFFFu;
        if (layout.wide)
            out.head_rank32.push_back(rank);
        else
            out.head_rank16.push_back(std::uint16_t(rank));
        if (!head) {
            for (const Place& place : list) {
                out.tail_doc.push_back(place.position);
                out.tail_impact.push_back(place.impact);
            }
            out.tail_start.push_back(std::uint32_t(out.tail_doc.size()));
            continue;
        }
        out.tail_start.push_back(out.tail_start.back());
        std::vector<std::uint8_t> block_max(stride, 0);
        std::size_t at = 0;
        for (std::uint32_t page = 0; page < n_pages; ++page) {
            if (page % lsr::kGroupPages == 0) out.row_group.push_back(std::uint32_t(at));
            out.row_dir.push_back(std::uint16_t(at - out.row_group.back()));
            std::vector<std::uint8_t> impacts;
            for (; at < list.size() && list[at].position / lsr::kPage == page; ++at) {
                out.rows.push_back(std::uint8_t(list[at].position % lsr::kPage));
                impacts.push_back(list[at].impact);
                std::uint8_t& best = block_max[list[at].position / lsr::kBlock];
                best = std::max(best, list[at].impact);
            }
            out.rows.insert(out.rows.end(), impacts.begin(), impacts.end());
        }
        out.row_group.push_back(std::uint32_t(list.size()));
        out.row_base.push_back(out.row_base.back() + list.size());
        if (!layout.grid) continue;
        const std::vector<std::uint8_t> codes = codes_of(block_max);
        out.codebook.insert(out.codebook.end(), codes.begin(), codes.end());
        auto cell = [&](std::size_t block) {
            return std::lower_bound(codes.begin(), codes.end(), block_max[block]) - codes.begin();
        };
        for (std::size_t first = 0; first < stride; first += 64)
            for (std::size_t j = first; j < first + 32; ++j)
                out.grid.push_back(std::uint8_t(cell(j) | cell(j + 32) << 4));
    }
    return out;
}

struct Ask {
    std::vector<std::uint32_t> terms;
    std::vector<std::uint16_t> weights;
    std::size_t k = 10;
    bool by_group = false;
    std::size_t pages = 0;  // 0: exact
};

inline Ask random_ask(Random& random, std::uint32_t n_terms, std::uint32_t n, std::size_t k) {
    std::set<std::uint32_t> terms;
    for (std::uint32_t i = 0; i < n; ++i) terms.insert(random.below(n_terms + 2));  // some unknown
    Ask ask{{terms.begin(), terms.end()}, {}, k, random.chance(30), 0};
    const std::uint32_t largest = random.one_of({1u, 3u, 100u, 4095u});
    for (std::size_t i = 0; i < ask.terms.size(); ++i)
        ask.weights.push_back(std::uint16_t(1 + random.below(largest)));
    return ask;
}

// One byte a position, or empty: every document may be returned.
using Live = std::vector<std::uint8_t>;

// A key (topk.hpp) for every document that lives and shares a term with the query, best first; with
// groups the best of each.
inline std::vector<std::uint64_t> all_keys(std::span<const Collection* const> collections,
                                           std::span<const Live> live, const Ask& ask) {
    std::map<std::uint32_t, std::uint64_t> weight;
    for (std::size_t i = 0; i < ask.terms.size(); ++i) weight[ask.terms[i]] += ask.weights[i];
    std::vector<std::uint64_t> keys;
    std::map<std::uint32_t, std::uint64_t> best;
    for (std::size_t s = 0; s < collections.size(); ++s)
        for (std::size_t d = 0; d < collections[s]->documents.size(); ++d) {
            if (!live[s].empty() && !live[s][d]) continue;
            std::uint64_t score = 0;
            for (const Posting& posting : collections[s]->documents[d])
                if (const auto found = weight.find(posting.term); found != weight.end())
                    score += found->second * posting.impact;
            if (score == 0) continue;
            const std::uint64_t key = score << 32 | std::uint32_t(~collections[s]->docids[d]);
            std::uint64_t& of_group = best[collections[s]->group_of(d)];
            of_group = std::max(of_group, key);
            if (!ask.by_group) keys.push_back(key);
        }
    if (ask.by_group)
        for (const auto& [group, key] : best) keys.push_back(key);
    std::sort(keys.begin(), keys.end(), std::greater<>{});
    return keys;
}

inline std::vector<std::uint64_t> brute_force(std::span<const Collection* const> collections,
                                              std::span<const Live> live, const Ask& ask) {
    std::vector<std::uint64_t> keys = all_keys(collections, live, ask);
    keys.resize(std::min(keys.size(), ask.k));
    return keys;
}

}  // namespace toy
