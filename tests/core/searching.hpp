// The one place of the harness that knows the signatures of the searches.
#pragma once

#include <cstdint>
#include <cstring>
#include <span>
#include <stdexcept>
#include <vector>

#include "containing.hpp"
#include "search.hpp"
#include "toy.hpp"

namespace toy {

inline constexpr lsr::Algorithm kAlgorithms[] = {
    lsr::Algorithm::automatic, lsr::Algorithm::exhaustive, lsr::Algorithm::blockmax};

struct Answer {
    std::vector<std::uint64_t> keys;
    lsr::Report report;
};

// Segments with their masks as the core reads them.
struct Parts {
    std::vector<std::vector<std::uint32_t>> words;
    std::vector<lsr::Part> all;

    Parts(std::span<const lsr::SegmentView> views, std::span<const Live> live) {
        for (const Live& mask : live) {
            words.emplace_back((mask.size() + 31) / 32);
            for (std::size_t i = 0; i < mask.size(); ++i)
                words.back()[i / 32] |= std::uint32_t(mask[i]) << (i % 32);
        }
        for (std::size_t s = 0; s < views.size(); ++s) all.push_back({&views[s], {words[s]}});
    }
};

inline lsr::Request request_of(const Ask& ask, lsr::Algorithm algorithm, const lsr::Stop* stop) {
    return {{ask.terms, ask.weights}, ask.k, algorithm, ask.pages, ask.by_group, stop};
}

// Accumulators are zero between uses: what one search leaves behind, the next one would find.
inline Answer search(const Parts& parts, const Ask& ask, lsr::Algorithm algorithm,
                     lsr::Scratch& scratch, lsr::Cpu cpu, const lsr::Stop* stop = nullptr) {
    Answer answer;
    answer.keys =
        lsr::search(parts.all, request_of(ask, algorithm, stop), scratch, cpu, answer.report);
    const std::vector<std::uint32_t>& acc = scratch.acc;
    // All are zero if the first is and each equals the next; memcmp is fast under sanitizers.
    if (!acc.empty() && (acc[0] || std::memcmp(acc.data(), acc.data() + 1, 4 * acc.size() - 4)))
        throw std::runtime_error("a search left its accumulators dirty");
    return answer;
}

inline std::vector<Answer> search_batch(const Parts& parts, std::span<const Ask> asks,
                                        lsr::Algorithm algorithm, std::size_t n_threads,
                                        lsr::Cpu cpu, const lsr::Stop* stop = nullptr) {
    std::vector<lsr::Request> requests;
    for (const Ask& ask : asks) requests.push_back(request_of(ask, algorithm, stop));
    std::vector<std::vector<std::uint64_t>> keys(asks.size());
    std::vector<lsr::Report> reports(asks.size());
    lsr::search_batch(parts.all, requests, n_threads, keys, reports, cpu, [] { return false; });
    std::vector<Answer> answers;
    for (std::size_t i = 0; i < asks.size(); ++i) answers.push_back({keys[i], reports[i]});
    return answers;
}

}  // namespace toy
