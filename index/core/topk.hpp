// The k best documents as 64-bit keys: score << 32 | ~docid, so that one integer order is the
// ranking order (score descending, docid ascending) and the result cannot depend on the visiting
// order, the rounds, the segmentation, the number of threads or the width of a vector register.
//
// Lazy selection: keys are appended to a buffer and cut back to the k best when it is full
// (nth_element), which costs O(1) a key whatever k is; a binary heap costs O(log k) and a branch
// miss a key.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <vector>

namespace lsr {

class TopK {
public:
    // `k` must not exceed the number of documents searched (the caller clamps it).
    void reset(std::size_t k) {
        k_ = k;
        capacity_ = std::max<std::size_t>(2 * k, 256);
        keys_.clear();
        keys_.reserve(capacity_);
        floor_ = 0xFFFFFFFFull;
    }

    // A key at or below this one is not among the k best. Its start excludes exactly the documents
    // of score 0.
    std::uint64_t floor() const { return floor_; }

    // A document scoring less than this is not among the k best; one that scores as much may be.
    std::uint32_t theta() const { return std::uint32_t(floor_ >> 32); }

    void offer(std::uint32_t score, std::uint32_t docid) {
        const std::uint64_t key = std::uint64_t(score) << 32 | std::uint32_t(~docid);
        if (key <= floor_) return;
        keys_.push_back(key);
        if (keys_.size() == capacity_) tighten();
    }

    // Raise the floor to the k-th best key so far, once there are k.
    void tighten() {
        if (k_ == 0 || keys_.size() < k_) return;
        std::nth_element(keys_.begin(), keys_.begin() + std::ptrdiff_t(k_ - 1), keys_.end(),
                         std::greater<>{});
        keys_.resize(k_);
        floor_ = std::max(floor_, keys_[k_ - 1]);
    }

    // The k best keys, best first; valid until the next reset.
    const std::vector<std::uint64_t>& finish() {
        tighten();
        std::sort(keys_.begin(), keys_.end(), std::greater<>{});
        return keys_;
    }

private:
    std::size_t k_ = 0;
    std::size_t capacity_ = 0;
    std::uint64_t floor_ = 0;
    std::vector<std::uint64_t> keys_;
};

}  // namespace lsr
