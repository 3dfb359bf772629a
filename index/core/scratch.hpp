// Working memory of one thread, kept between queries: allocating a few hundred kilobytes per query
// costs more page faults than a query takes. Accumulators are all zero between uses.
#pragma once

#include <cstdint>
#include <vector>

#include "grid.hpp"
#include "query.hpp"
#include "segment_view.hpp"
#include "topk.hpp"

namespace lsr {

struct Scratch {
    Prepared query;
    TopK top;
    std::vector<std::uint32_t> acc;
    std::vector<std::uint8_t> skip;  // one byte a page: nothing to find there
    std::vector<std::uint16_t> bound, light, page_max, group_max, order;
    std::vector<SweepTerm> sweep_terms;
};

}  // namespace lsr
