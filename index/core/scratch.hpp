// Working memory of one thread, kept between queries: allocating a few hundred kilobytes per query
// costs more page faults than a query takes. Accumulators are all zero between uses.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "grid.hpp"
#include "query.hpp"
#include "segment_view.hpp"
#include "topk.hpp"

namespace lsr {

// Rows are added in phases: query terms 0-11 by falling bound, 12-23, 24-63 and so on. Measured
// against two phases for 44 terms: 7 % less time at k = 10; four gain nothing more.
inline constexpr std::array<std::size_t, 6> kPhaseStart = {0, 12, 24, 64, 160, 512};
inline constexpr std::size_t kPhases = kPhaseStart.size();

struct Scratch {
    Prepared query;
    TopK top;
    std::vector<std::uint32_t> acc;
    std::vector<std::uint8_t> skip;  // one byte a page: nothing to find there
    // bounds[p], a block each: what the query terms from phase p on can add (blockmax.hpp).
    std::array<std::vector<std::uint16_t>, kPhases> bounds;
    std::vector<std::uint16_t> page_max, group_max, order, values;
    std::vector<SweepTerm> sweep_terms;
    std::vector<std::uint32_t> partial, above;  // scores on the way (blockmax.hpp)
    std::vector<std::uint32_t> singles;         // positions to score one by one (forward.hpp)

    // The next query of this thread.
    void begin(const Query& asked) {
        asked_ = asked;
        dense_is_of_asked_ = false;
    }

    // The query's weight of every term, 0 for the others; made when first asked for.
    std::span<const std::uint16_t> dense_query(std::uint32_t n_terms) {
        if (!dense_is_of_asked_ || dense_.size() < n_terms) {
            for (const std::uint32_t term : dense_terms_) dense_[term] = 0;
            dense_terms_.clear();
            if (dense_.size() < n_terms) dense_.resize(n_terms);
            for (std::size_t i = 0; i < asked_.terms.size(); ++i)
                if (asked_.terms[i] < dense_.size()) {
                    dense_[asked_.terms[i]] = asked_.weights[i];
                    dense_terms_.push_back(asked_.terms[i]);
                }
            dense_is_of_asked_ = true;
        }
        return dense_;
    }

private:
    Query asked_;
    bool dense_is_of_asked_ = false;
    std::vector<std::uint16_t> dense_;
    std::vector<std::uint32_t> dense_terms_;  // where dense_ is not zero
};

}  // namespace lsr
