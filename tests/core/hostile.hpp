// A segment and a few queries read from arbitrary bytes, and written to them: what the segment
// fuzzer feeds on and how its seeds are made.
//
// Numbers come first, arrays last. Where the bytes end, arrays go on with pseudo-random numbers of
// a seed the bytes chose, so that a short input can still fill a large array with rubbish. Two
// flags repair the offset arrays, which `check` proves: otherwise few inputs would get past it.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

#include "toy.hpp"

namespace toy {

struct Hostile {
    Arrays arrays;
    std::vector<Ask> asks;
    Live live;
};

enum Flags : std::uint8_t {
    kGrid = 1,
    kWide = 2,
    kRepair = 4,
    kMasked = 8,
    kLarge = 16,
    kOdd = 32,
    kGroups = 64,
    kForward = 128
};

class Reader {
public:
    explicit Reader(std::span<const std::uint8_t> bytes) : bytes_(bytes) {}

    template <class T>
    T number() {
        T value = 0;
        const std::size_t n = std::min(sizeof(T), bytes_.size());
        if (n) std::memcpy(&value, bytes_.data(), n);
        bytes_ = bytes_.subspan(n);
        return value;
    }
    void seed(std::uint32_t seed) { state_ = seed * 2654435769u | 1; }

    template <class T>
    std::vector<T> array(std::size_t n) {
        std::vector<T> values(n);
        const std::size_t n_bytes = std::min(n * sizeof(T), bytes_.size());
        if (n_bytes) std::memcpy(values.data(), bytes_.data(), n_bytes);
        bytes_ = bytes_.subspan(n_bytes);
        for (std::size_t i = n_bytes / sizeof(T); i < n; ++i) {
            state_ ^= state_ << 13, state_ ^= state_ >> 7, state_ ^= state_ << 17;
            values[i] = T(state_ >> (state_ & 31));  // all magnitudes
        }
        return values;
    }

private:
    std::span<const std::uint8_t> bytes_;
    std::uint64_t state_ = 1;
};

// Ascending from 0 to `total`.
template <class T>
void repair(std::vector<T>& offsets, std::uint64_t total) {
    for (T& offset : offsets) offset = T(std::min<std::uint64_t>(offset, total));
    std::sort(offsets.begin(), offsets.end());
    offsets.front() = 0;
    offsets.back() = T(total);
}

inline Hostile read_hostile(std::span<const std::uint8_t> bytes) {
    Reader in(bytes);
    Hostile out;
    Arrays& a = out.arrays;
    const std::uint8_t flags = in.number<std::uint8_t>();
    in.seed(in.number<std::uint32_t>());
    a.n_docs = in.number<std::uint16_t>() & (flags & kLarge ? 0xFFFF : 0x07FF);
    const std::size_t n_terms = in.number<std::uint8_t>(), n_heads = in.number<std::uint8_t>() & 31;
    const std::size_t n_rows = in.number<std::uint16_t>(), n_tail = in.number<std::uint16_t>();
    const std::size_t n_forward = flags & kForward ? in.number<std::uint16_t>() : 0;
    // A length that is wrong by this many; `check` must notice.
    const std::size_t odd = flags & kOdd ? in.number<std::uint8_t>() & 3 : 0;
    const std::size_t odd_array = flags & kOdd ? in.number<std::uint8_t>() % 18 : 18;
    for (int i = 0; i < 2; ++i) {
        Ask ask;
        ask.k = in.number<std::uint16_t>();
        if (ask.k == 0xFFFF) ask.k = SIZE_MAX;
        const std::uint8_t how = in.number<std::uint8_t>();  // groups, and the pages to score
        ask.by_group = how & 1;
        ask.pages = how < 0x80 ? 0 : how & 0x7F;
        const std::size_t n = in.number<std::uint8_t>() & 63;
        for (std::size_t t = 0; t < n; ++t) {
            ask.terms.push_back(in.number<std::uint8_t>());
            ask.weights.push_back(std::uint16_t(1 + in.number<std::uint16_t>() % 4095));
        }
        out.asks.push_back(ask);
    }
    std::size_t at = 0;
    auto length = [&](std::size_t n) { return at++ == odd_array ? n + odd : n; };
    const std::size_t n_pages = (a.n_docs + lsr::kPage - 1) / lsr::kPage;
    const std::size_t n_groups = (n_pages + lsr::kGroupPages - 1) / lsr::kGroupPages;
    const std::size_t stride = (n_pages * lsr::kBlocksPerPage + 63) / 64 * 64;
    const std::size_t grid_heads = flags & kGrid ? n_heads : 0;
    a.row_base = in.array<std::uint64_t>(length(n_heads + 1));
    a.tail_start = in.array<std::uint32_t>(length(n_terms + 1));
    a.head_rank16 = in.array<std::uint16_t>(length(flags & kWide ? 0 : n_terms));
    a.head_rank32 = in.array<std::uint32_t>(length(flags & kWide ? n_terms : 0));
    if (flags & kRepair) {
        repair(a.row_base, n_rows), repair(a.tail_start, n_tail);
        for (std::uint16_t& rank : a.head_rank16)
            if (rank != 0xFFFF) rank = n_heads ? std::uint16_t(rank % n_heads) : 0xFFFF;
        for (std::uint32_t& rank : a.head_rank32)
            if (rank != 0xFFFFFFFF) rank = n_heads ? std::uint32_t(rank % n_heads) : 0xFFFFFFFF;
    }
    a.max_impact = in.array<std::uint8_t>(length(n_terms));
    a.codebook = in.array<std::uint8_t>(length(grid_heads * lsr::kCodes));
    a.row_group = in.array<std::uint32_t>(length(n_heads * (n_groups + 1)));
    a.row_dir = in.array<std::uint16_t>(length(n_heads * n_pages));
    a.tail_doc = in.array<std::uint32_t>(length(n_tail));
    a.tail_impact = in.array<std::uint8_t>(length(n_tail));
    a.rows = in.array<std::uint8_t>(length(2 * n_rows));
    a.external = in.array<std::uint32_t>(length(a.n_docs));
    a.grid = in.array<std::uint8_t>(length(grid_heads * (stride / 2)));
    if (flags & kGroups) a.group = in.array<std::uint32_t>(length(a.n_docs));
    if (flags & kForward) {
        a.forward_start = in.array<std::uint64_t>(length(a.n_docs + 1u));
        // Most starts are near the postings there are, or few of them would be used.
        if (flags & kRepair)
            for (std::uint64_t& start : a.forward_start)
                if (start % 8) start %= n_forward + 2;
        a.forward_term16 = in.array<std::uint16_t>(length(flags & kWide ? 0 : n_forward));
        a.forward_term32 = in.array<std::uint32_t>(length(flags & kWide ? n_forward : 0));
        a.forward_weight = in.array<std::uint16_t>(length(n_forward));
    }
    if (flags & kMasked) out.live = in.array<std::uint8_t>(a.n_docs);
    const std::uint8_t sparse = in.number<std::uint8_t>() & 1 ? 63 : 1;
    for (std::uint8_t& one : out.live) one = (one & sparse) == 1;
    return out;
}

// The bytes that `read_hostile` turns into this segment and two copies of this ask. The segment has
// at most 2,047 documents, 255 terms and 31 heads.
inline std::vector<std::uint8_t> write_hostile(const Arrays& a, bool wide, const Ask& ask) {
    std::vector<std::uint8_t> out;
    auto number = [&](auto value) {
        const auto* bytes = reinterpret_cast<const std::uint8_t*>(&value);
        out.insert(out.end(), bytes, bytes + sizeof value);
    };
    auto array = [&](const auto& values) {
        for (const auto value : values) number(value);
    };
    number(std::uint8_t((a.codebook.empty() ? 0 : kGrid) | (wide ? kWide : 0) |
                        (a.group.empty() ? 0 : kGroups) |
                        (a.forward_start.empty() ? 0 : kForward)));
    number(std::uint32_t(1));
    number(std::uint16_t(a.n_docs));
    number(std::uint8_t(a.max_impact.size()));
    number(std::uint8_t(a.row_base.size() - 1));
    number(std::uint16_t(a.rows.size() / 2));
    number(std::uint16_t(a.tail_doc.size()));
    if (!a.forward_start.empty()) number(std::uint16_t(a.forward_weight.size()));
    for (int i = 0; i < 2; ++i) {
        number(std::uint16_t(ask.k));
        number(std::uint8_t(ask.by_group + (i ? 0x90 : 0)));
        number(std::uint8_t(ask.terms.size()));
        for (std::size_t t = 0; t < ask.terms.size(); ++t) {
            number(std::uint8_t(ask.terms[t]));
            number(std::uint16_t(ask.weights[t] - 1));
        }
    }
    array(a.row_base), array(a.tail_start), array(a.head_rank16), array(a.head_rank32);
    array(a.max_impact), array(a.codebook), array(a.row_group), array(a.row_dir);
    array(a.tail_doc), array(a.tail_impact), array(a.rows), array(a.external), array(a.grid);
    array(a.group), array(a.forward_start), array(a.forward_term16), array(a.forward_term32);
    array(a.forward_weight);
    return out;
}

}  // namespace toy
