// Working memory of one thread, kept between queries: allocating a few hundred kilobytes per query
// costs more page faults than a query takes. Accumulators are all zero between uses.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "grid.hpp"
#include "query.hpp"
#include "segment_view.hpp"
#include "topk.hpp"

namespace lsr {

// Rows are added in phases: query terms 0-11 by falling bound, 12-23, the rest. Measured against
// two phases: 7 % less time at k = 10; four gain nothing more.
inline constexpr std::array<std::size_t, 3> kPhaseStart = {0, 12, 24};
inline constexpr std::size_t kPhases = kPhaseStart.size();

struct Scratch {
    Prepared query;
    TopK top;
    std::vector<std::uint32_t> acc;
    std::vector<std::uint8_t> skip;  // one byte a page: nothing to find there
    // bounds[p], a block each: what the query terms from phase p on can add (blockmax.hpp).
    std::array<std::vector<std::uint16_t>, kPhases> bounds;
    std::vector<std::uint16_t> page_max, group_max, order;
    std::vector<SweepTerm> sweep_terms;
};

}  // namespace lsr
