// The k best documents as 64-bit keys: score << 32 | ~docid, so that one integer order is the
// ranking order (score descending, docid ascending) and the result cannot depend on the visiting
// order, the rounds, the segmentation, the number of threads or the width of a vector register.
//
// Lazy selection: keys gather in a buffer, and a count of the scores by 4,096 steps tells at any
// time a score that k of them reach; only when the buffer is full are the keys below it dropped. So
// a key costs O(1) whatever k is, and the same steps sort them in the end. Scores are counted page
// by page before keys are made of those that still reach the threshold after many pages: a key
// costs 20 ns, a count 3, and of 9,000 documents that reach it when they are met, 2,000 do then.
//
// With groups (the passages of a document) the k best groups are kept, each by its best key: the
// buffer is cut by groups, and its k-th best group is the threshold.
//
// Safety: the threshold only ever is a score that k offered documents (of k distinct groups) reach,
// and a key is refused only below it, so no key of the answer is lost.
#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <utility>
#include <vector>

namespace lsr {

class TopK {
public:
    // `k` must not exceed the number of documents searched (the caller clamps it); no score exceeds
    // `max_score`.
    void reset(std::size_t k, std::uint32_t max_score, bool by_group) {
        k_ = k;
        by_group_ = by_group;
        capacity_ = std::max<std::size_t>((by_group ? 4 : 2) * k, 256);
        keys_.clear();
        keys_.reserve(capacity_);
        groups_.clear();
        floor_ = 0xFFFFFFFFull;
        counting_ = k >= kCountFrom && !by_group;
        if (counting_) {
            shift_ = std::uint32_t(std::max(0, int(std::bit_width(max_score)) - int(kCountBits)));
            counts_.assign(kSteps, 0);
            step_ = 0;
            above_ = 0;
        }
    }

    std::size_t k() const { return k_; }
    bool by_group() const { return by_group_; }
    // Whether scores are to be counted before they are offered; `offer` wants them not counted.
    bool counting() const { return counting_; }

    // A key at or below this one is not among the k best. Its start excludes exactly the documents
    // of score 0.
    std::uint64_t floor() const { return floor_; }

    // A document scoring less than this is not among the k best; one that scores as much may be.
    std::uint32_t theta() const { return std::uint32_t(floor_ >> 32); }

    // A score that n of the documents counted so far reach or nearly reach; for 0 < n <= k.
    std::uint32_t reached_by(std::size_t n) const {
        std::size_t above = 0;
        for (std::uint32_t step = kSteps; step-- > 0;)
            if ((above += counts_[step]) >= n) return step << shift_;
        return 0;
    }

    // The keys kept so far, in no order; no document twice.
    const std::vector<std::uint64_t>& keys() const { return keys_; }

    void offer(std::uint32_t score, std::uint32_t docid) {
        if (counting_) count(score);
        keep(score, docid);
    }

    // The two halves of an offer. A document that was counted must be kept if it reaches theta
    // then.
    void count(std::uint32_t score) {
        const std::uint32_t step = step_of(score);
        ++counts_[step];
        above_ += step > step_;
    }

    void keep(std::uint32_t score, std::uint32_t docid) {
        const std::uint64_t key = std::uint64_t(score) << 32 | std::uint32_t(~docid);
        if (key <= floor_) return;
        keys_.push_back(key);
        if (keys_.size() == capacity_) shrink();
    }

    void offer(std::uint32_t score, std::uint32_t docid, std::uint32_t group) {
        const std::uint64_t key = std::uint64_t(score) << 32 | std::uint32_t(~docid);
        if (key <= floor_) return;
        keys_.push_back(key);
        groups_.push_back(group);
        if (keys_.size() == capacity_) select_groups();
    }

    // Refuse from now on what scores less than `score`, which k documents are known to reach.
    void raise(std::uint32_t score) {
        if (score) floor_ = std::max(floor_, (std::uint64_t(score) << 32) - 1);
    }

    // Raise the floor by what was offered since.
    void tighten() {
        if (by_group_)
            select_groups();
        else if (counting_)
            count_down();
        else
            select();
    }

    // The k best keys, best first; valid until the next reset, and nothing is offered before it.
    const std::vector<std::uint64_t>& finish() {
        if (counting_) {
            count_down();
            drop_below_floor();
            sort_by_steps();
            if (keys_.size() > k_) keys_.resize(k_);
            return keys_;
        }
        if (by_group_)
            select_groups();
        else
            select();
        std::sort(keys_.begin(), keys_.end(), std::greater<>{});
        return keys_;
    }

private:
    static constexpr std::uint32_t kCountBits = 12, kSteps = 1u << kCountBits;
    static constexpr std::size_t kCountFrom = 64;  // below, selecting among 256 keys is cheaper

    // Damaged bytes may score more than promised: never beyond the counts.
    std::uint32_t step_of(std::uint32_t score) const {
        return std::min(score >> shift_, kSteps - 1);
    }

    // Raise `step_` while k scores lie in higher steps: then all of them exceed the floor.
    void count_down() {
        while (above_ >= k_) {
            floor_ = std::max(floor_, (std::uint64_t(step_ + 1) << shift_ << 32) - 1);
            above_ -= counts_[++step_];
        }
    }

    void shrink() {
        if (counting_) {
            count_down();
            drop_below_floor();
            if (keys_.size() <= capacity_ / 4 * 3) return;
        }
        select();  // many scores in one step: ties, told apart by docid
    }

    // The floor may be the k-th best key, so it stays. Without a branch: half of the keys go, in no
    // order, and a miss each costs 10 us at k = 1000.
    void drop_below_floor() {
        std::size_t n = 0;
        for (const std::uint64_t key : keys_) {
            keys_[n] = key;
            n += key >= floor_;
        }
        keys_.resize(n);
    }

    // Best first: into a place for each step, the few keys of a step by comparing: 12 us at
    // k = 1000, nth_element and std::sort take 28.
    void sort_by_steps() {
        std::fill(counts_.begin(), counts_.end(), 0);
        for (const std::uint64_t key : keys_) ++counts_[step_of(std::uint32_t(key >> 32))];
        std::uint32_t begin = 0;
        for (std::uint32_t step = kSteps; step-- > 0;) begin += std::exchange(counts_[step], begin);
        sorted_.resize(keys_.size());
        for (const std::uint64_t key : keys_)
            sorted_[counts_[step_of(std::uint32_t(key >> 32))]++] = key;
        keys_.swap(sorted_);
        begin = 0;
        for (std::uint32_t step = kSteps; step-- > 0;) {
            const std::uint32_t end = counts_[step];
            if (end - begin > 1)
                std::sort(keys_.begin() + begin, keys_.begin() + end, std::greater<>{});
            begin = end;
        }
    }

    // Keep the k best keys; the last of them is the floor.
    void select() {
        if (k_ == 0 || keys_.size() < k_) return;
        std::nth_element(keys_.begin(), keys_.begin() + std::ptrdiff_t(k_ - 1), keys_.end(),
                         std::greater<>{});
        keys_.resize(k_);
        floor_ = std::max(floor_, keys_[k_ - 1]);
    }

    // Keep the best key of each group, and the k best groups.
    void select_groups() {
        order_.clear();
        for (std::size_t i = 0; i < keys_.size(); ++i) order_.push_back({keys_[i], groups_[i]});
        std::sort(order_.begin(), order_.end(), [](const Passage& a, const Passage& b) {
            return a.group != b.group ? a.group < b.group : a.key > b.key;
        });
        const auto last =
            std::unique(order_.begin(), order_.end(),
                        [](const Passage& a, const Passage& b) { return a.group == b.group; });
        order_.erase(last, order_.end());
        if (k_ != 0 && order_.size() >= k_) {
            std::nth_element(order_.begin(), order_.begin() + std::ptrdiff_t(k_ - 1), order_.end(),
                             [](const Passage& a, const Passage& b) { return a.key > b.key; });
            order_.resize(k_);
            floor_ = std::max(floor_, order_[k_ - 1].key);
        }
        keys_.clear();
        groups_.clear();
        for (const Passage& passage : order_) {
            keys_.push_back(passage.key);
            groups_.push_back(passage.group);
        }
    }

    struct Passage {
        std::uint64_t key;
        std::uint32_t group;
    };

    std::size_t k_ = 0;
    std::size_t capacity_ = 0;
    bool by_group_ = false;
    bool counting_ = false;
    std::uint64_t floor_ = 0;
    std::vector<std::uint64_t> keys_, sorted_;
    std::vector<std::uint32_t> groups_;  // of keys_, with groups only
    std::vector<Passage> order_;
    std::uint32_t shift_ = 0;
    std::uint32_t step_ = 0;             // k scores or fewer lie above this step
    std::size_t above_ = 0;              // how many
    std::vector<std::uint32_t> counts_;  // offered scores by score >> shift_
};

}  // namespace lsr
