// Top-k by block bounds: sweep the grid once, score the most promising pages to learn a threshold,
// then only the blocks that can still reach it, in document order.
//
// After block-max pruning (Mallia, Suel, Tonellotto, SIGIR 2024, arXiv 2405.01117), with rounds
// instead of a sorted block list: the pages of the best blocks, of the next best, the rest. After
// them document order visits 0-4 % more pages than best-first would (measured), without the sort.
//
// Rows are added in phases (scratch.hpp), heaviest terms first, tails with the first phase. After
// each a block goes on only if its best partial score + its bound of the terms to come reaches the
// threshold. Partial scores teach, too: the k-th best of what was scored and of the block maxima so
// far is a threshold. Of a row only the slots between the first and the last block of interest are
// added. Where a filter leaves few documents of a page, or few that can still reach the threshold
// after a phase, they are scored one by one (forward.hpp).
//
// Asked for an approximate answer, it scores only the best pages by bound, so many, and leaves the
// rest alone; the largest bound left alone is reported, so that the answer says whether it is exact
// after all. Budgets count pages, since a page costs the same for one block as for eight: the same
// recall takes a quarter less time than with the best blocks.
//
// Safety. (1) Blocks: grid.hpp. (2) Phases: for a document d of block b the partial score is exact
// and the rest is bounded by rest[b] in fixed point, so floor(factor x score(d) / 2^32) <=
// floor(factor x partial(d) / 2^32) + 1 + rest[b]; if that sum is below the threshold's
// floor(factor x theta / 2^32), then score(d) < theta strictly. (3) theta only ever comes from live
// documents: offered ones, or the best live partial score of distinct blocks, which a final score
// is never below. So it holds under deletes and filters; a dead document only loosens bounds.
// Maxima of blocks may belong to one group, so they teach nothing when groups are collapsed.
// (4) Ties are decided on the 64-bit key (topk.hpp), so rounds and order cannot show. (5) A page is
// chosen once, with all its blocks whose bound reaches the threshold of that moment; the others can
// never come back, because theta only rises. They may hold partial sums, are not offered, and are
// zeroed with the page.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <cstring>
#include <functional>
#include <limits>
#include <span>
#include <vector>

#include "accumulate.hpp"
#include "exhaustive.hpp"
#include "forward.hpp"
#include "grid.hpp"
#include "request.hpp"
#include "scratch.hpp"

namespace lsr {

// Blocks of the first and the second round.
inline constexpr std::size_t kFirstRound = 8, kSecondRound = 32;
inline constexpr std::size_t kChunkPages = 64;  // 64 KB of accumulators
inline constexpr std::size_t kLearnUpTo = 256;
inline constexpr std::size_t kManyHits = 100;

// Whether a page holds so few live documents that they are scored one by one.
inline bool is_sparse(const SegmentView& segment, std::size_t n_live) {
    return n_live < segment.n_docs / 20;
}

namespace detail {

// Pages to score together, and what of each is of interest.
struct Chunk {
    std::size_t n = 0;
    std::uint32_t page[kChunkPages];
    std::uint32_t blocks[kChunkPages];  // bit b: block b; 0: the page is out
    SlotRange range[kChunkPages];       // from the first to the last of these blocks

    void choose(std::size_t i, std::uint32_t chosen) {
        blocks[i] = chosen;
        if (chosen)
            range[i] = {std::uint32_t(std::countr_zero(chosen)) * kBlock,
                        std::uint32_t(std::bit_width(chosen)) * kBlock};
    }
};

// Add the rows of `terms` for the pages of the chunk; acc[i] belongs to page[i]. Rows of the next
// term are located and prefetched, and the directory of the one after, while those of this one are
// added: half of a query's time is waiting for these lines.
template <Cpu cpu>
LSR_INLINE void add_terms(const SegmentView& segment, std::span<const HeadTerm> terms,
                          const Chunk& chunk, std::uint32_t* acc) {
    Row rows[2][kChunkPages];
    const std::uint8_t* rows_end = segment.rows.data() + segment.rows.size();
    for (std::size_t t = 0; t <= terms.size(); ++t) {
        if (t < terms.size()) {
            const SegmentView::Line line = segment.line(terms[t].head);
            const std::size_t later = terms[std::min(t + 1, terms.size() - 1)].head;
            const std::uint16_t* later_dir = segment.row_dir.data() + later * segment.n_pages;
            for (std::size_t i = 0; i < chunk.n; ++i) {
                if (!chunk.blocks[i]) continue;
                const Row row = segment.row(line, chunk.page[i]);
                for (std::uint32_t at = 0; at < 2 * row.n + 32; at += 64)
                    LSR_PREFETCH(row.slots + at);
                LSR_PREFETCH(later_dir + chunk.page[i]);
                rows[t & 1][i] = row;
            }
        }
        if (t > 0)
            for (std::size_t i = 0; i < chunk.n; ++i)
                if (chunk.blocks[i])
                    add_row_in<cpu>(rows[~t & 1][i], chunk.range[i], rows_end, terms[t - 1].weight,
                                    acc + i * kPage);
    }
}

// A score that k documents reach or exceed, from the keys found so far and from the best partial
// scores of blocks (distinct documents, none of them among the keys): at least theta.
inline std::uint32_t learn(std::span<const std::uint32_t> partial, const TopK& top,
                           std::vector<std::uint32_t>& above) {
    const std::uint32_t theta = top.theta();
    // Beyond kLearnUpTo the maxima of a chunk's 512 blocks say little and cost a tenth of a query.
    if (top.by_group() || top.k() > kLearnUpTo || partial.size() + top.keys().size() < top.k())
        return theta;
    above.clear();
    for (const std::uint32_t score : partial)
        if (score > theta) above.push_back(score);
    if (above.empty()) return theta;
    for (const std::uint64_t key : top.keys())
        if (std::uint32_t(key >> 32) > theta) above.push_back(std::uint32_t(key >> 32));
    if (above.size() < top.k()) return theta;
    std::nth_element(above.begin(), above.begin() + std::ptrdiff_t(top.k() - 1), above.end(),
                     std::greater<>{});
    return above[top.k() - 1];
}

// Gather the live documents of a page that the `rest` of the terms can lift to the threshold, to be
// scored alone; false, and nothing gathered, where they are more than `most`.
inline bool single_out(const SegmentView& segment, Live live, std::uint32_t page,
                       std::uint32_t blocks, const std::uint32_t* acc, const std::uint16_t* rest,
                       std::uint32_t threshold, std::size_t most, Scratch& scratch) {
    std::vector<std::uint32_t>& singles = scratch.singles;
    const std::size_t before = singles.size();
    for (; blocks; blocks &= blocks - 1) {
        const std::uint32_t b = std::uint32_t(std::countr_zero(blocks));
        const std::uint32_t block = page * kBlocksPerPage + b;
        for (std::uint32_t left = live.block(block); left; left &= left - 1) {
            const std::uint32_t i = std::uint32_t(std::countr_zero(left));
            const std::uint32_t score = acc[b * kBlock + i], position = block * kBlock + i;
            if (scratch.query.floor_bound(score) + 1 + rest[b] < threshold) continue;
            if (position >= segment.n_docs) break;
            if (singles.size() - before == most) {
                singles.resize(before);
                return false;
            }
            singles.push_back(position);
        }
    }
    return true;
}

// Leave in the chunk only the blocks that the terms of `phase` and later can lift to the threshold.
template <Cpu cpu>
LSR_INLINE void narrow(const SegmentView& segment, std::size_t phase, Live live, Chunk& chunk,
                       Scratch& scratch) {
    const Prepared& query = scratch.query;
    std::uint32_t best[kChunkPages][kBlocksPerPage];
    scratch.partial.clear();
    for (std::size_t i = 0; i < chunk.n; ++i)
        for (std::uint32_t left = chunk.blocks[i]; left; left &= left - 1) {
            const std::uint32_t b = std::uint32_t(std::countr_zero(left));
            best[i][b] = block_max<cpu>(scratch.acc.data() + i * kPage + b * kBlock,
                                        live.block(chunk.page[i] * kBlocksPerPage + b));
            scratch.partial.push_back(best[i][b]);
        }
    const std::uint32_t threshold =
        query.floor_bound(learn(scratch.partial, scratch.top, scratch.above));
    // Without a filter too many documents would have to be looked at, 2 to 5 % more time; for many
    // hits too many reach the threshold, up to 10 % more.
    const bool singles_pay = !live.all() && segment.has_forward() && scratch.top.k() < kManyHits;
    const std::size_t most = (query.heads.size() - kPhaseStart[phase]) / kRowsPerLateSingle;
    for (std::size_t i = 0; i < chunk.n; ++i) {
        if (!chunk.blocks[i]) continue;
        const std::uint16_t* rest =
            scratch.bounds[phase].data() + std::size_t(chunk.page[i]) * kBlocksPerPage;
        std::uint32_t possible = 0;
        for (std::uint32_t left = chunk.blocks[i]; left; left &= left - 1) {
            const std::uint32_t b = std::uint32_t(std::countr_zero(left));
            if (query.floor_bound(best[i][b]) + 1 + rest[b] >= threshold) possible |= 1u << b;
        }
        if (possible && singles_pay &&
            single_out(segment, live, chunk.page[i], possible, scratch.acc.data() + i * kPage, rest,
                       threshold, most, scratch))
            possible = 0;
        chunk.choose(i, possible);
    }
}

// Score the chosen blocks, offer their documents and leave the accumulators zero.
template <Cpu cpu>
LSR_INLINE void score_chunk_body(const SegmentView& segment, Live live, Chunk& chunk,
                                 Scratch& scratch) {
    const Prepared& query = scratch.query;
    const std::span<const HeadTerm> heads(query.heads);
    std::uint32_t* acc = scratch.acc.data();
    for (const TailTerm& tail : query.tails)
        for (std::size_t i = 0, at = 0; i < chunk.n; ++i)
            at = add_tail(tail, at, chunk.page[i], 1, acc + i * kPage);
    for (std::size_t phase = 0; phase < kPhases; ++phase) {
        const std::size_t from = kPhaseStart[phase];
        if (from >= heads.size()) break;
        const std::size_t to = phase + 1 < kPhases ? kPhaseStart[phase + 1] : heads.size();
        if (phase > 0) narrow<cpu>(segment, phase, live, chunk, scratch);
        add_terms<cpu>(segment, heads.subspan(from, std::min(to, heads.size()) - from), chunk, acc);
    }
    if (!scratch.top.counting() && scratch.top.theta() == 0) {
        // Nothing is known yet: else all documents of these pages would be offered, a tenth of
        // a search for a short query.
        scratch.partial.clear();
        for (std::size_t i = 0; i < chunk.n; ++i)
            for (std::uint32_t left = chunk.blocks[i]; left; left &= left - 1) {
                const std::uint32_t b = std::uint32_t(std::countr_zero(left));
                scratch.partial.push_back(block_max<cpu>(
                    acc + i * kPage + b * kBlock, live.block(chunk.page[i] * kBlocksPerPage + b)));
            }
        scratch.top.raise(learn(scratch.partial, scratch.top, scratch.above));
    }
    harvest<cpu>(
        segment, live, chunk.n, [&](std::size_t i) { return chunk.page[i]; }, chunk.blocks, acc,
        scratch.top);
    clear_pages(acc, chunk.n);
}

#if LSR_HAS_AVX2_PATH
LSR_AVX2 inline void score_chunk_avx2(const SegmentView& segment, Live live, Chunk& chunk,
                                      Scratch& scratch) {
    score_chunk_body<Cpu::avx2>(segment, live, chunk, scratch);
}
#endif

inline void score_chunk(const SegmentView& segment, Live live, Chunk& chunk, Scratch& scratch,
                        Cpu cpu) {
#if LSR_HAS_AVX2_PATH
    if (uses_avx2(cpu)) return score_chunk_avx2(segment, live, chunk, scratch);
#endif
    (void)cpu;
    score_chunk_body<Cpu::portable>(segment, live, chunk, scratch);
}

// The n-th largest of `values`, or 0 when there are fewer.
inline std::uint32_t nth_largest(std::span<const std::uint16_t> values, std::size_t n,
                                 std::vector<std::uint16_t>& order) {
    if (n > values.size()) return 0;
    order.assign(values.begin(), values.end());
    std::nth_element(order.begin(), order.begin() + std::ptrdiff_t(n - 1), order.end(),
                     std::greater<>{});
    return order[n - 1];
}

// One segment's search: the bounds, and which pages are still to be looked at.
class BlockMax {
public:
    BlockMax(const SegmentView& segment, Live live, std::size_t n_live, const Request& request,
             Scratch& scratch, Cpu cpu)
        : segment_(segment), live_(live), request_(request), scratch_(scratch), cpu_(cpu) {
        if (live.all()) return;
        singles_pay_ = segment.has_forward();
        sparse_ = is_sparse(segment, n_live);
    }

    void run(std::size_t budget, Report& report) {
        bound();
        report.pages += segment_.n_pages;
        const std::size_t k = scratch_.top.k();
        if (budget) {
            least_ = best_pages(budget);
            budget_ = budget;
        }
        const std::size_t wide = sparse_ ? 4 : 1;
        round(seed(std::max(wide * kFirstRound, k / 64)), report);
        if (!budget && k >= kManyHits && hopeless()) return rest_exhaustively(report);
        round(seed(std::max(wide * kSecondRound, k / 4)), report);
        round(0, report);
        certify(report);
    }

private:
    // Bound 0 means no posting at all, hence the 1.
    std::uint32_t threshold() const {
        return std::max<std::uint32_t>(scratch_.query.floor_bound(scratch_.top.theta()), 1);
    }

    void bound() {
        const Prepared& query = scratch_.query;
        scratch_.sweep_terms.clear();
        for (const HeadTerm& term : query.heads)
            scratch_.sweep_terms.push_back(sweep_term(segment_, query, term));
        std::size_t n_phases = 1;
        while (n_phases < kPhases && kPhaseStart[n_phases] < query.heads.size()) ++n_phases;
        for (std::size_t p = 0; p < n_phases; ++p) scratch_.bounds[p].resize(segment_.stride);
        sweep(scratch_.sweep_terms, std::span(kPhaseStart).first(n_phases), segment_.stride,
              scratch_.bounds, cpu_);
        std::uint16_t* bounds = scratch_.bounds[0].data();
        add_tail_bounds(segment_, query, bounds);
        drop_dead(live_, bounds, cpu_);  // the bound of no live document changes
        const std::size_t n_super = (segment_.n_pages + 7) / 8;
        scratch_.page_max.assign(n_super * 8, 0);
        page_maxima(bounds, scratch_.page_max.data(), segment_.n_pages, cpu_);
        scratch_.group_max.resize(n_super);
        page_maxima(scratch_.page_max.data(), scratch_.group_max.data(), n_super, cpu_);
        if (scratch_.acc.size() < kChunkPages * kPage) scratch_.acc.resize(kChunkPages * kPage);
    }

    // A bound that at least n blocks reach, few more: the best of 64 blocks, or of a page, stand
    // for the blocks where there are enough of them, since selecting among all blocks costs a
    // seventh of a query.
    std::uint32_t seed(std::size_t n) const {
        const std::size_t n_blocks = std::size_t(segment_.n_pages) * kBlocksPerPage;
        std::span<const std::uint16_t> of = scratch_.group_max;
        if (of.size() < 2 * n) of = std::span(scratch_.page_max).first(segment_.n_pages);
        if (of.size() < 2 * n) of = std::span(scratch_.bounds[0]).first(n_blocks);
        return nth_largest(of, n, scratch_.order);
    }

    // The bound of the n-th best page.
    std::uint32_t best_pages(std::size_t n) const {
        const std::span<const std::uint16_t> pages =
            std::span(scratch_.page_max).first(segment_.n_pages);
        if (scratch_.group_max.size() < 2 * n) return nth_largest(pages, n, scratch_.order);
        const std::uint32_t least =
            std::max(nth_largest(scratch_.group_max, n, scratch_.order), 1u);
        scratch_.values.clear();
        for (std::uint32_t s = 0; s < scratch_.group_max.size(); ++s)
            if (scratch_.group_max[s] >= least)
                for (std::uint32_t p = s * 8; p < s * 8 + 8; ++p)  // 0 beyond the last page
                    if (scratch_.page_max[p] >= least)
                        scratch_.values.push_back(scratch_.page_max[p]);
        return std::max(least, nth_largest(scratch_.values, n, scratch_.order));
    }

    std::uint16_t bound_of(std::uint32_t page, std::uint32_t b) const {
        return scratch_.bounds[0][std::size_t(page) * kBlocksPerPage + b];
    }

    // Score the pages whose best bound reaches `least`, with their blocks that reach the threshold,
    // which rises from chunk to chunk.
    void round(std::uint32_t least, Report& report) {
        least = std::max(least, least_);
        std::uint32_t needed = threshold();
        for (std::uint32_t s = 0; s < scratch_.group_max.size() && !report.stopped; ++s) {
            if (scratch_.group_max[s] < std::max(least, needed)) continue;
            const std::uint32_t last = std::min(s * 8 + 8, segment_.n_pages);
            for (std::uint32_t p = s * 8; p < last; ++p) {
                if (scratch_.page_max[p] < std::max(least, needed)) continue;
                if (taken_ == budget_) break;  // further pages of the same bound are left alone
                ++taken_;
                std::uint32_t chosen = 0;
                for (std::uint32_t b = 0; b < kBlocksPerPage; ++b)
                    chosen |= std::uint32_t(bound_of(p, b) >= needed) << b;
                take(p, chosen, report);
                if (chunk_.n == kChunkPages) needed = score(report);
            }
        }
        score(report);
    }

    // Put the page into the chunk, or score its few live documents on the spot.
    void take(std::uint32_t page, std::uint32_t chosen, Report& report) {
        scratch_.page_max[page] = 0;
        ++report.pages_scored;
        report.blocks_scored += std::uint32_t(std::popcount(chosen));
        if (singles_pay_) {
            std::size_t n_live = 0;
            for (std::uint32_t left = chosen; left; left &= left - 1)
                n_live += std::size_t(std::popcount(
                    live_.block(page * kBlocksPerPage + std::uint32_t(std::countr_zero(left)))));
            if (n_live * kRowsPerSingle <= scratch_.query.heads.size()) {
                for (std::uint32_t left = chosen; left; left &= left - 1)
                    queue_block(segment_,
                                page * kBlocksPerPage + std::uint32_t(std::countr_zero(left)),
                                live_, scratch_);
                if (scratch_.singles.size() >= kSingles) score_singles(segment_, scratch_);
                return;
            }
        }
        chunk_.page[chunk_.n] = page;
        chunk_.choose(chunk_.n++, chosen);
    }

    // Score what was taken; the threshold after it.
    std::uint32_t score(Report& report) {
        if (request_.stop && request_.stop->now()) report.stopped = true;
        if (!report.stopped) {
            score_singles(segment_, scratch_);
            if (chunk_.n) score_chunk(segment_, live_, chunk_, scratch_, cpu_);
            score_singles(segment_, scratch_);
            scratch_.top.tighten();
        } else {  // in the account again
            scratch_.singles.clear();
            report.skip(scratch_.query.total);
        }
        chunk_.n = 0;
        return threshold();
    }

    // Whether nearly all pages will be scored, so that all rows of all pages, term by term, are
    // cheaper: in order a row costs 12 ns, alone some 50. Asked after the first round, a fiftieth
    // of a search of 200,000 documents; after the second a tenth is lost. Then k / 4 documents
    // reach what k do in the end or less. Few live documents are scored one by one, which no row
    // order beats.
    bool hopeless() const {
        const TopK& top = scratch_.top;
        if (sparse_ || !top.counting()) return false;
        const std::uint32_t likely = scratch_.query.floor_bound(top.reached_by(top.k() / 4));
        std::size_t left = 0, undone = 0;
        for (std::uint32_t p = 0; p < segment_.n_pages; ++p) {
            left += scratch_.page_max[p] >= likely;
            undone += scratch_.page_max[p] > 0;
        }
        return left * 20 > undone * 19;
    }

    void rest_exhaustively(Report& report) {
        const std::uint32_t needed = threshold();
        scratch_.skip.resize(segment_.n_pages);
        for (std::uint32_t p = 0; p < segment_.n_pages; ++p) {
            scratch_.skip[p] = scratch_.page_max[p] < needed;
            report.pages_scored += !scratch_.skip[p];
            report.blocks_scored += scratch_.skip[p] ? 0 : kBlocksPerPage;
            scratch_.page_max[p] = 0;
        }
        report.exhaustive = true;
        exhaustive(segment_, live_, scratch_.skip, request_, scratch_, cpu_, report);
        certify(report);
    }

    // Account for the best block that was not scored.
    void certify(Report& report) const {
        report.blockmax = true;
        std::uint16_t left = 0;
        for (const std::uint16_t bound : scratch_.page_max) left = std::max(left, bound);
        if (left) report.skip(scratch_.query.largest_score(left));
    }

    const SegmentView& segment_;
    Live live_;
    const Request& request_;
    Scratch& scratch_;
    Cpu cpu_;
    std::size_t budget_ = std::numeric_limits<std::size_t>::max(), taken_ = 0;  // pages
    std::uint32_t least_ = 0;  // pages of a lesser bound are left alone: the budget
    bool singles_pay_ = false;
    bool sparse_ = false;  // the best blocks hold few live documents: look into more of them first
    Chunk chunk_;
};

}  // namespace detail

// `scratch.query` is prepared and `scratch.top` is open; the segment has a grid and `n_live` live
// documents. A budget of 0 pages asks for the exact answer.
inline void blockmax(const SegmentView& segment, Live live, std::size_t n_live,
                     const Request& request, std::size_t budget, Scratch& scratch, Cpu cpu,
                     Report& report) {
    detail::BlockMax(segment, live, n_live, request, scratch, cpu).run(budget, report);
}

}  // namespace lsr
