// A segment as the core sees it: borrowed spans over arrays that Python mapped and checked.
//
// Layout (FORMAT.md tells every byte): documents have positions 0..n_docs-1; a block is 32
// positions, a page is 256. A frequent term is a *head*: its postings lie page by page in `rows`,
// each row as slots u8[n] ascending, then impacts u8[n], and each block has a 4-bit cell that
// bounds its impacts. Every other term is a *tail*: a plain list.
//
// What keeps corrupt bytes harmless: `check()` runs once when a segment is opened and proves every
// length and every directory that is cheap to read (head_rank, row_base, tail_start); `row()`
// bounds the rest at use; slots are u8 and cannot leave their page; a tail position is compared
// with its page before it is used; a harvested position with n_docs.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <stdexcept>
#include <string>

namespace lsr {

inline constexpr std::uint32_t kBlock = 32;
inline constexpr std::uint32_t kPage = 256;
inline constexpr std::uint32_t kBlocksPerPage = kPage / kBlock;
inline constexpr std::uint32_t kGroupPages = 128;  // 128 pages x 256 postings: a start fits u16
inline constexpr std::uint32_t kCodes = 16;

// A contradiction in a segment; `section` names the array.
struct Corrupt : std::runtime_error {
    Corrupt(const char* section, const std::string& what)
        : std::runtime_error(std::string(section) + ": " + what) {}
};

struct Row {
    const std::uint8_t* slots;
    std::uint32_t n;  // impacts follow the slots: slots[n .. 2n)
};

struct SegmentView {
    std::uint32_t n_docs = 0;
    std::uint32_t n_terms = 0;
    std::uint32_t n_heads = 0;
    std::uint32_t n_pages = 0;
    std::uint32_t n_groups = 0;
    std::size_t stride = 0;  // blocks of one grid line: rounded up to 64
    std::uint64_t n_head_postings = 0;
    bool has_grid = false;

    std::span<const std::uint16_t> head_rank16;  // one of the two is empty
    std::span<const std::uint32_t> head_rank32;
    std::span<const std::uint8_t> max_impact;
    std::span<const std::uint8_t> codebook;
    std::span<const std::uint8_t> grid;
    std::span<const std::uint32_t> row_group;
    std::span<const std::uint16_t> row_dir;
    std::span<const std::uint64_t> row_base;
    std::span<const std::uint8_t> rows;
    std::span<const std::uint32_t> tail_start;
    std::span<const std::uint32_t> tail_doc;
    std::span<const std::uint8_t> tail_impact;
    std::span<const std::uint32_t> external;
    std::span<const std::uint32_t> group;  // empty: every document is its own group

    // Stored vectors; all empty where a segment keeps none.
    std::span<const std::uint64_t> forward_start;
    std::span<const std::uint16_t> forward_term16;  // one of the two is empty
    std::span<const std::uint32_t> forward_term32;
    std::span<const std::uint16_t> forward_weight;  // float16 bits
    std::span<const std::uint8_t> impact_of;        // the impact of each of the 65,536 float16

    bool has_forward() const { return !forward_start.empty(); }

    std::uint32_t group_of(std::uint32_t position) const {
        return group.empty() ? external[position] : group[position];
    }

    static constexpr std::uint32_t kTail = 0xFFFFFFFFu;

    // The head rank of a term, or kTail.
    std::uint32_t head(std::uint32_t term) const {
        if (!head_rank32.empty()) return head_rank32[term];
        const std::uint16_t rank = head_rank16[term];
        return rank == 0xFFFFu ? kTail : rank;
    }

    // Where the rows of one head begin.
    struct Line {
        const std::uint32_t* group;
        const std::uint16_t* dir;
        std::uint64_t base;
    };

    Line line(std::uint32_t head) const {
        return {row_group.data() + std::size_t(head) * (n_groups + 1),
                row_dir.data() + std::size_t(head) * n_pages, row_base[head]};
    }

    // The postings of one head in one page. Safe on any bytes: a length beyond a page, or an end
    // beyond `rows`, is an empty row.
    Row row(const Line& line, std::uint32_t page) const {
        const std::uint32_t* group = line.group + page / kGroupPages;
        const std::uint16_t* dir = line.dir + page;
        const bool last = page % kGroupPages == kGroupPages - 1 || page + 1 == n_pages;
        const std::uint64_t begin = line.base + group[0] + dir[0];
        const std::uint64_t end = line.base + (last ? group[1] : group[0] + dir[1]);
        const std::uint64_t n = end - begin;
        if (n > kPage || end > n_head_postings) [[unlikely]]
            return {rows.data(), 0};
        return {rows.data() + 2 * begin, std::uint32_t(n)};
    }

    const std::uint8_t* cells(std::uint32_t head) const {
        return grid.data() + std::size_t(head) * (stride / 2);
    }

    // Derive the counts from n_docs and the spans, and prove what the searches rely on. Throws
    // Corrupt.
    void check() {
        // Positions and page ends are u32 sums; half the range leaves them no way to wrap.
        if (n_docs > 0x7FFFFFFFu)
            throw Corrupt("header", "n_docs = " + std::to_string(n_docs) + " exceeds 2^31 - 1");
        n_terms = std::uint32_t(max_impact.size());
        n_pages = n_docs / kPage + (n_docs % kPage != 0);
        n_groups = n_pages / kGroupPages + (n_pages % kGroupPages != 0);
        stride = (std::size_t(n_pages) * kBlocksPerPage + 63) / 64 * 64;
        if (row_base.empty()) throw Corrupt("row_base", "is empty; it holds n_heads + 1 numbers");
        n_heads = std::uint32_t(row_base.size() - 1);
        n_head_postings = rows.size() / 2;
        has_grid = !codebook.empty();

        length("head_rank", head_rank16.size() + head_rank32.size(), n_terms);
        if (!head_rank16.empty() && !head_rank32.empty())
            throw Corrupt("head_rank", "has two widths");
        length("row_group", row_group.size(), std::size_t(n_heads) * (n_groups + 1));
        length("row_dir", row_dir.size(), std::size_t(n_heads) * n_pages);
        length("rows", rows.size(), 2 * n_head_postings);
        length("tail_start", tail_start.size(), std::size_t(n_terms) + 1);
        length("tail_impact", tail_impact.size(), tail_doc.size());
        length("external", external.size(), n_docs);
        length("group", group.size(), group.empty() ? 0 : n_docs);
        if (has_forward()) {
            length("forward_start", forward_start.size(), std::size_t(n_docs) + 1);
            length("forward_term", forward_term16.size() + forward_term32.size(),
                   forward_weight.size());
            if (!forward_term16.empty() && !forward_term32.empty())
                throw Corrupt("forward_term", "has two widths");
            length("impact_of", impact_of.size(), 65536);
        }
        length("codebook", codebook.size(), has_grid ? std::size_t(n_heads) * kCodes : 0);
        length("grid", grid.size(), has_grid ? std::size_t(n_heads) * (stride / 2) : 0);

        for (std::uint32_t t = 0; t < n_terms; ++t)
            if (const std::uint32_t rank = head(t); rank != kTail && rank >= n_heads)
                throw Corrupt("head_rank", "term " + std::to_string(t) + " has rank " +
                                               std::to_string(rank) + ", the segment has " +
                                               std::to_string(n_heads) + " heads");
        directory("row_base", row_base, n_head_postings);
        directory("tail_start", tail_start, tail_doc.size());
    }

private:
    static void length(const char* section, std::size_t got, std::size_t wanted) {
        if (got != wanted)
            throw Corrupt(section, "holds " + std::to_string(got) + " numbers, " +
                                       std::to_string(wanted) + " expected");
    }

    template <class Offset>
    static void directory(const char* section, std::span<const Offset> offsets,
                          std::uint64_t total) {
        std::uint64_t previous = 0;
        for (std::size_t i = 0; i < offsets.size(); ++i) {
            if (offsets[i] < previous)
                throw Corrupt(section,
                              "entry " + std::to_string(i) + " = " + std::to_string(offsets[i]) +
                                  " is less than its predecessor " + std::to_string(previous));
            previous = offsets[i];
        }
        if (offsets[0] != 0 || previous != total)
            throw Corrupt(section, "runs from " + std::to_string(offsets[0]) + " to " +
                                       std::to_string(previous) + ", expected 0 to " +
                                       std::to_string(total));
    }
};

}  // namespace lsr
