// libFuzzer target: no bytes in a segment make opening or searching it read outside its arrays,
// run for ever or return what no ranking is.
#include <cstdlib>
#include <optional>

#include "hostile.hpp"
#include "searching.hpp"

namespace {

std::optional<lsr::SegmentView> opened(const toy::Arrays& arrays) {
    lsr::SegmentView view = arrays.view();
    try {
        view.check();
    } catch (const lsr::Corrupt&) {
        return {};
    }
    return view;
}

void expect(bool holds) {
    if (!holds) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t n) {
    static lsr::Scratch scratch;  // kept, so that one search may stumble over another's remains
    const toy::Hostile hostile = toy::read_hostile({bytes, n});
    const std::optional<lsr::SegmentView> view = opened(hostile.arrays);
    if (!view) return 0;
    const toy::Parts parts({&*view, 1}, {&hostile.live, 1});
    for (const toy::Ask& ask : hostile.asks) {
        if (!ask.terms.empty()) lsr::documents_with(*view, ask.terms[0]);
        for (const lsr::Cpu cpu : lsr::kCpus)
            for (const lsr::Algorithm algorithm : toy::kAlgorithms) {
                if (!lsr::has_cpu(cpu)) continue;
                const std::vector<std::uint64_t> keys =
                    toy::search(parts, ask, algorithm, scratch, cpu).keys;
                expect(keys.size() <= std::min<std::size_t>(ask.k, view->n_docs));
                expect(std::is_sorted(keys.begin(), keys.end(), std::greater<>{}));
                expect(keys.empty() || keys.back() >> 32 > 0);
            }
    }
    return 0;
}
