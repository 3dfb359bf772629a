// Document order: similar documents side by side, so that a block of 32 holds few distinct terms
// and its bounds are tight. Measured: 3 to 4 times fewer blocks survive than in insertion order.
//
// Recursive graph bisection: Dhulipala et al., KDD 2016, arXiv 1602.08820. A range of documents is
// halved; the documents whose move lowers the estimated bits of the two halves' postings most
// change sides, a few times; then each half is treated alike, down to one block. As in Mackenzie,
// Petri and Moffat (TKDE 2022) a selection replaces the sort: swapping pairs while their gains add
// up to more than zero ends with the documents of the smallest wish to be right on the left.
//
// What makes it quick: a document is one row of its heaviest terms and rows move with their
// documents, so every pass reads memory in order; a half renumbers its terms and drops those that
// only one of its documents has (their gain is zero on both sides), so tables shrink into cache.
//
// Safety: the result is always a permutation (documents only change places), whatever the input
// and wherever the time ran out; a search depends on it for its speed, not for its answer. The
// caller proves that the numbers in `rows` are at most n_terms.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <chrono>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <limits>
#include <mutex>
#include <numeric>
#include <span>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

namespace lsr {

// 8 rounds leave 5 % more blocks to score than 20; 40 leave 1 to 2 % fewer on one set of two.
inline constexpr int kBisectionRounds = 20;
inline constexpr std::size_t kBisectionLeaf = 32;
// Rounds end when at most one document in so many changes sides. 200 leaves 2 % more blocks to
// score and saves a fifth of the time; 4,000 gains nothing.
inline constexpr std::size_t kBisectionSettled = 1000;

// What a worker threw (out of memory), for the caller's thread to throw again once all have ended.
class Failure {
public:
    template <class Work>
    void catching(Work&& work) {
        try {
            work();
        } catch (...) {
            const std::lock_guard<std::mutex> lock(guard_);
            first_ = std::current_exception();
        }
    }
    bool any() {
        const std::lock_guard<std::mutex> lock(guard_);
        return bool(first_);
    }
    void rethrow() {
        if (first_) std::rethrow_exception(first_);
    }

private:
    std::mutex guard_;
    std::exception_ptr first_;
};

class Bisection {
public:
    using Clock = std::chrono::steady_clock;
    // Told, in the caller's thread only, how many of total() units are done; what it throws ends
    // the run.
    using Progress = std::function<void(std::uint64_t done)>;

    // Row d of `rows`, `width` numbers (at most 255), has the terms of document d; a number equal
    // to n_terms is unused room. The rows are overwritten.
    Bisection(std::span<std::uint32_t> rows, std::size_t width, std::size_t n_terms,
              std::size_t n_threads)
        : width_(width), n_threads_(std::max<std::size_t>(1, n_threads)) {
        const std::size_t n_docs = width ? rows.size() / width : 0;
        rows_[0] = rows;
        spare_rows_.resize(rows.size());
        rows_[1] = spare_rows_;
        order_.resize(n_docs);
        for (std::vector<std::uint8_t>& length : length_) length.resize(n_docs);
        for (std::vector<std::uint32_t>& documents : documents_) documents.resize(n_docs);
        std::iota(documents_[0].begin(), documents_[0].end(), 0u);
        std::iota(order_.begin(), order_.end(), 0u);
        keys_.resize(n_docs);
        is_right_.resize(n_docs);
        // h(d) is what the d-th posting of a list adds to d log2(d + 1), the part of the paper's
        // estimate that does not depend on the length of the half.
        added_.resize(n_docs + 2);
        for (std::size_t d = 1; d < added_.size(); ++d)
            added_[d] = float(d * std::log2(double(d + 1)) - (d - 1) * std::log2(double(d)));
        workspaces_.reserve(n_threads_);
        for (std::size_t i = 0; i < n_threads_; ++i) workspaces_.emplace_back(n_terms);
        root_terms_ = number_terms(n_terms);
        count_units(n_docs);
    }

    // order()[position] = document. The same for any number of threads while time lasts.
    const std::vector<std::uint32_t>& order() const { return order_; }

    // Documents times halvings.
    std::uint64_t total() const { return total_; }

    // At `deadline` the ranges that are not halved yet keep their present order.
    void run(Clock::time_point deadline, const Progress& progress) {
        deadline_ = deadline;
        std::vector<Range> waiting{{0, order_.size(), root_terms_, 0}};
        // While ranges are few all threads share one range; then each takes ranges of its own.
        // Enough of them that the threads end at about the same time.
        const std::size_t enough = n_threads_ == 1 ? 1 : 8 * n_threads_;
        while (!waiting.empty() && waiting.size() < enough) {
            std::vector<Range> halves;
            for (Range& range : waiting)
                if (halve(range, n_threads_, workspaces_[0])) {
                    const auto [left, right] = halves_of(range);
                    halves.push_back(left);
                    halves.push_back(right);
                    progress(done_);
                }
            waiting = std::move(halves);
        }
        share_out(waiting, progress);
    }

private:
    // Documents at [begin, end) whose rows lie in rows_[buffer] and hold numbers below n_terms.
    struct Range {
        std::size_t begin, end, n_terms;
        int buffer;
        std::size_t n_left_terms = 0, n_right_terms = 0;
    };
    struct Workspace {
        explicit Workspace(std::size_t n_terms)
            : all(n_terms), left(n_terms), moved(n_terms), to_right(n_terms), to_left(n_terms) {}
        std::vector<std::uint32_t> all, left;  // documents with the term: in the range, on the left
        std::vector<std::int32_t> moved;       // change of `left` that is not yet in it
        // Bits saved when one document moves; after the rounds, the terms' numbers in the halves.
        std::vector<float> to_right, to_left;
        std::size_t n_moved = 0, n_left = 0;
        std::array<std::uint32_t, 65536> histogram{};
    };
    static constexpr std::uint32_t kDropped = std::numeric_limits<std::uint32_t>::max();
    // Fewer things are not worth a second thread: starting it takes as long as some thousand.
    static constexpr std::size_t kShared = 16384;

    static std::size_t half_of(std::size_t n) {
        // Halves of whole blocks, so that leaves are the blocks of the segment.
        return (n / 2 + kBisectionLeaf - 1) / kBisectionLeaf * kBisectionLeaf;
    }
    void count_units(std::size_t n) {
        if (n <= kBisectionLeaf) return;
        total_ += n;
        count_units(half_of(n));
        count_units(n - half_of(n));
    }

    // work(first, last, thread) over [0, n) in as many pieces as threads.
    template <class Work>
    static void in_pieces(std::size_t n, std::size_t n_threads, const Work& work) {
        if (n < kShared) n_threads = 1;
        Failure failure;
        const auto guarded = [&](std::size_t first, std::size_t last, std::size_t i) {
            failure.catching([&] { work(first, last, i); });
        };
        std::vector<std::thread> others;
        others.reserve(n_threads - 1);
        for (std::size_t i = 1; i < n_threads; ++i) {
            const std::size_t first = n * i / n_threads, last = n * (i + 1) / n_threads;
            try {
                others.emplace_back(guarded, first, last, i);
            } catch (const std::system_error&) {  // no more threads to have
                guarded(first, last, i);
            }
        }
        guarded(std::size_t{0}, n / n_threads, std::size_t{0});
        for (std::thread& other : others) other.join();
        failure.rethrow();
    }

    // Replaces terms by dense numbers, leaving out those of one document. Returns how many remain.
    std::size_t number_terms(std::size_t n_terms) {
        Workspace& w = workspaces_[0];
        for (const std::uint32_t term : rows_[0])
            if (term < n_terms) ++w.all[term];
        std::uint32_t n = 0;
        for (std::uint32_t& count : w.all) count = count < 2 ? kDropped : n++;
        for (std::size_t doc = 0; doc < order_.size(); ++doc) {
            std::uint32_t* row = rows_[0].data() + doc * width_;
            std::size_t kept = 0;
            for (std::size_t i = 0; i < width_; ++i)
                if (row[i] < n_terms && w.all[row[i]] != kDropped) row[kept++] = w.all[row[i]];
            length_[0][doc] = std::uint8_t(kept);
        }
        std::fill(w.all.begin(), w.all.end(), 0u);
        return n;
    }

    std::pair<Range, Range> halves_of(const Range& range) const {
        const std::size_t middle = range.begin + half_of(range.end - range.begin);
        return {{range.begin, middle, range.n_left_terms, 1 - range.buffer},
                {middle, range.end, range.n_right_terms, 1 - range.buffer}};
    }

    // Depth first, in one thread.
    void descend(Range range, Workspace& workspace, const std::function<void()>& between) {
        if (!halve(range, 1, workspace)) return;
        if (range.end - range.begin >= kShared) between();
        const auto [left, right] = halves_of(range);
        descend(left, workspace, between);
        descend(right, workspace, between);
    }

    void share_out(const std::vector<Range>& ranges, const Progress& progress) {
        std::atomic<std::size_t> next = 0, running = 0;
        auto take = [&](Workspace& workspace, const std::function<void()>& between) {
            for (std::size_t i; (i = next++) < ranges.size();) {
                descend(ranges[i], workspace, between);
                between();
            }
        };
        Failure failure;
        std::vector<std::thread> others;
        auto end = [&] {
            for (std::thread& other : others) other.join();
            others.clear();
        };
        try {
            others.reserve(n_threads_ - 1);
            for (std::size_t i = 1; i < n_threads_ && i < ranges.size(); ++i) {
                ++running;
                others.emplace_back([&, i] {
                    failure.catching([&] { take(workspaces_[i], [] {}); });
                    if (failure.any()) stopped_ = true;
                    --running;
                });
            }
        } catch (const std::system_error&) {
            --running;  // no more threads to have: go on with those there are
        }
        try {
            take(workspaces_[0], [&] { progress(done_); });
            while (running) {
                std::this_thread::sleep_for(std::chrono::milliseconds(5));
                progress(done_);
            }
        } catch (...) {
            stopped_ = true;
            end();
            throw;
        }
        end();
        failure.rethrow();
    }

    // Splits the documents of `range` in two similar halves and moves their rows to the other
    // buffer. False when there is nothing to halve further: `order_` is then final there.
    bool halve(Range& range, std::size_t n_threads, Workspace& w) {
        const std::size_t n = range.end - range.begin;
        const std::uint32_t* documents = documents_[range.buffer].data() + range.begin;
        if (n <= kBisectionLeaf || stopped_ || Clock::now() >= deadline_) {
            std::copy(documents, documents + n, order_.begin() + range.begin);
            return false;
        }
        const std::size_t half = half_of(n);
        std::uint8_t* is_right = is_right_.data() + range.begin;
        for (std::size_t i = 0; i < n; ++i) is_right[i] = i >= half;
        count(range, half, n_threads, w);
        for (int round = 0; round < kBisectionRounds; ++round) {
            weigh(range, half, n_threads, w);
            if (swap_round(range, half, n_threads, w) * kBisectionSettled <= n) break;
        }
        number_halves(range, n_threads, w);
        part(range, half, n_threads, w);
        done_ += n;
        return true;
    }

    // Documents per term, of the range and of its left half.
    void count(const Range& range, std::size_t half, std::size_t n_threads, Workspace& w) {
        in_pieces(range.end - range.begin, n_threads, [&](auto first, auto last, auto thread) {
            Workspace& own = thread ? workspaces_[thread] : w;
            for (std::size_t i = first; i < last; ++i)
                for (const std::uint32_t term : row_of(range, i)) {
                    ++own.all[term];
                    own.moved[term] += i < half;
                }
        });
    }

    // Brings the counts up to date, then the bits each term saves when a document moves.
    void weigh(const Range& range, std::size_t half, std::size_t n_threads, Workspace& w) {
        const float left_bits = std::log2(float(half));
        const float right_bits = std::log2(float(range.end - range.begin - half));
        in_pieces(range.n_terms, n_threads, [&](auto first, auto last, auto) {
            for (std::size_t term = first; term < last; ++term) {
                settle(term, n_threads, w);
                const std::uint32_t left = w.left[term], right = w.all[term] - left;
                const float balance = left_bits - right_bits;
                if (left) w.to_right[term] = balance - added_[left] + added_[right + 1];
                if (right) w.to_left[term] = added_[left + 1] - added_[right] - balance;
            }
        });
    }

    void settle(std::size_t term, std::size_t n_threads, Workspace& w) {
        std::int32_t moved = std::exchange(w.moved[term], 0);
        for (std::size_t i = 1; i < n_threads; ++i) {
            moved += std::exchange(workspaces_[i].moved[term], 0);
            w.all[term] += std::exchange(workspaces_[i].all[term], 0u);
        }
        w.left[term] += std::uint32_t(moved);
    }

    // One round of moves; how many documents left the left half.
    std::size_t swap_round(const Range& range, std::size_t half, std::size_t n_threads,
                           Workspace& w) {
        const std::size_t n = range.end - range.begin;
        std::uint8_t* is_right = is_right_.data() + range.begin;
        std::uint64_t* keys = keys_.data() + range.begin;
        in_pieces(n, n_threads, [&](auto first, auto last, auto) {
            for (std::size_t i = first; i < last; ++i) {
                float wish = 0;  // to be right: bits saved there
                if (is_right[i])
                    for (const std::uint32_t term : row_of(range, i)) wish -= w.to_left[term];
                else
                    for (const std::uint32_t term : row_of(range, i)) wish += w.to_right[term];
                keys[i] =
                    std::uint64_t{ascending(wish)} << 32 | std::uint64_t{is_right[i]} << 31 | i;
            }
        });
        const std::uint64_t cut = nth(std::span(keys, n), half, n_threads);
        // `nth` may have permuted the keys; each names its document.
        in_pieces(n, n_threads, [&](auto first, auto last, auto thread) {
            Workspace& own = thread ? workspaces_[thread] : w;
            own.n_moved = 0;
            for (std::size_t j = first; j < last; ++j) {
                const std::size_t i = keys[j] & 0x7fffffff;
                const bool right = keys[j] >= cut;
                if (right == bool(is_right[i])) continue;
                is_right[i] = right;
                own.n_moved += right;
                for (const std::uint32_t term : row_of(range, i)) own.moved[term] += right ? -1 : 1;
            }
        });
        std::size_t n_moved = w.n_moved;
        if (n >= kShared)
            for (std::size_t i = 1; i < n_threads; ++i) n_moved += workspaces_[i].n_moved;
        return n_moved;
    }

    // Numbers for the terms that two documents of a half share, and clean counts for later ranges.
    void number_halves(Range& range, std::size_t n_threads, Workspace& w) {
        std::uint32_t n_left = 0, n_right = 0;
        for (std::size_t term = 0; term < range.n_terms; ++term) {
            settle(term, n_threads, w);
            const std::uint32_t left = std::exchange(w.left[term], 0u);
            const std::uint32_t right = std::exchange(w.all[term], 0u) - left;
            w.to_right[term] = std::bit_cast<float>(right < 2 ? kDropped : n_right++);
            w.to_left[term] = std::bit_cast<float>(left < 2 ? kDropped : n_left++);
        }
        range.n_left_terms = n_left;
        range.n_right_terms = n_right;
    }

    // Moves rows and documents to the other buffer, left half first, each in its present order.
    void part(const Range& range, std::size_t half, std::size_t n_threads, Workspace& w) {
        const std::size_t n = range.end - range.begin;
        const std::uint8_t* is_right = is_right_.data() + range.begin;
        in_pieces(n, n_threads, [&](auto first, auto last, auto thread) {
            Workspace& own = thread ? workspaces_[thread] : w;
            own.n_left = std::size_t(std::count(is_right + first, is_right + last, 0));
        });
        const int to = 1 - range.buffer;
        const bool last_time = half <= kBisectionLeaf;
        in_pieces(n, n_threads, [&](auto first, auto last, auto thread) {
            std::size_t left = range.begin;
            for (std::size_t i = 0; i < thread; ++i) left += (i ? workspaces_[i] : w).n_left;
            std::size_t right = range.begin + half + first - (left - range.begin);
            for (std::size_t i = first; i < last; ++i) {
                const std::size_t at = is_right[i] ? right++ : left++;
                documents_[to][at] = documents_[range.buffer][range.begin + i];
                if (last_time) continue;  // no later range reads the rows
                const std::vector<float>& number = is_right[i] ? w.to_right : w.to_left;
                std::uint32_t* row = rows_[to].data() + at * width_;
                std::size_t kept = 0;
                for (const std::uint32_t term : row_of(range, i)) {
                    const std::uint32_t renamed = std::bit_cast<std::uint32_t>(number[term]);
                    row[kept] = renamed;
                    kept += renamed != kDropped;
                }
                length_[to][at] = std::uint8_t(kept);
            }
        });
    }

    // The key with exactly `n` smaller ones; keys are distinct. May permute them.
    std::uint64_t nth(std::span<std::uint64_t> keys, std::size_t n, std::size_t n_threads) {
        if (n_threads == 1 || keys.size() < kShared) {
            std::nth_element(keys.begin(), keys.begin() + std::ptrdiff_t(n), keys.end());
            return keys[n];
        }
        std::uint64_t found = 0;  // the leading digits of the key, 16 bits a digit
        for (int shift = 48; shift >= 0; shift -= 16) {
            in_pieces(keys.size(), n_threads, [&](auto first, auto last, auto thread) {
                auto& histogram = workspaces_[thread].histogram;
                for (std::size_t i = first; i < last; ++i)
                    if (keys[i] >> shift >> 16 == found) ++histogram[keys[i] >> shift & 0xffff];
            });
            std::uint64_t digit = 0;
            bool is_found = false;
            for (std::size_t d = 0; d < 65536; ++d) {
                std::size_t here = 0;
                for (std::size_t i = 0; i < n_threads; ++i)
                    here += std::exchange(workspaces_[i].histogram[d], 0u);
                if (is_found) continue;
                is_found = n < here;
                if (is_found)
                    digit = d;
                else
                    n -= here;
            }
            found = found << 16 | digit;
        }
        return found;
    }

    std::span<const std::uint32_t> row_of(const Range& range, std::size_t i) const {
        const std::size_t at = range.begin + i;
        return {rows_[range.buffer].data() + at * width_, length_[range.buffer][at]};
    }

    // Unsigned numbers that are ordered like the floats.
    static std::uint32_t ascending(float value) {
        const std::uint32_t bits = std::bit_cast<std::uint32_t>(value);
        return bits >> 31 ? ~bits : bits | 0x80000000u;
    }

    std::size_t width_, n_threads_, root_terms_ = 0;
    std::array<std::span<std::uint32_t>, 2> rows_;
    std::vector<std::uint32_t> spare_rows_, order_;
    std::array<std::vector<std::uint8_t>, 2> length_;
    std::array<std::vector<std::uint32_t>, 2> documents_;
    std::vector<std::uint64_t> keys_;
    std::vector<std::uint8_t> is_right_;
    std::vector<float> added_;
    std::vector<Workspace> workspaces_;
    Clock::time_point deadline_ = Clock::time_point::max();
    std::uint64_t total_ = 0;
    std::atomic<std::uint64_t> done_ = 0;
    std::atomic<bool> stopped_ = false;
};

}  // namespace lsr
