// libFuzzer target: over sound segments, any terms, weights, k and masks give the brute-force
// ranking, on every algorithm and path.
#include <cstdio>
#include <cstdlib>

#include "hostile.hpp"
#include "searching.hpp"

namespace {

// Small enough that a fuzzer tries a thousand queries a second, large enough for several rounds.
struct World {
    std::vector<toy::Collection> collections;
    std::vector<toy::Arrays> arrays;
    std::vector<lsr::SegmentView> views;

    World(std::uint64_t seed, std::initializer_list<std::uint32_t> sizes, std::uint32_t n_terms,
          std::uint32_t levels) {
        toy::Random random(seed);
        std::uint32_t docid = 0;
        for (const std::uint32_t n_docs : sizes) {
            collections.push_back(
                toy::random_collection(random, n_docs, n_terms, 8, levels, docid));
            toy::Layout layout;
            layout.head_df = 16, layout.wide = n_terms > 65535, layout.forward = seed != 1;
            arrays.push_back(toy::lay_out(collections.back(), layout));
            docid += n_docs;
        }
        for (const toy::Arrays& one : arrays) {
            views.push_back(one.view());
            views.back().check();
        }
    }
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t n) {
    static const World worlds[] = {
        {1, {2500}, 90, 3}, {2, {700, 0, 300}, 20, 255}, {3, {1, 900}, 70000, 1}};
    static lsr::Scratch scratch;
    toy::Reader in({bytes, n});
    const World& world = worlds[in.number<std::uint8_t>() % 3];
    const std::uint8_t mask = in.number<std::uint8_t>();
    toy::Ask ask;
    ask.k = in.number<std::uint8_t>() & 1 ? std::size_t(in.number<std::uint64_t>())
                                          : in.number<std::uint16_t>() % 300;
    ask.by_group = mask & 16;
    const std::size_t n_terms = in.number<std::uint16_t>() % 400;
    std::map<std::uint32_t, std::uint16_t> weight_of;  // a query's terms increase; some are unknown
    for (std::size_t i = 0; i < n_terms; ++i)
        weight_of[in.number<std::uint32_t>() % (world.collections[0].n_terms + 3)] =
            std::uint16_t(1 + in.number<std::uint16_t>() % 4095);
    for (const auto& [term, weight] : weight_of)
        ask.terms.push_back(term), ask.weights.push_back(weight);
    in.seed(mask);
    std::vector<toy::Live> live;
    std::vector<const toy::Collection*> collections;
    for (const toy::Collection& collection : world.collections) {
        collections.push_back(&collection);
        live.emplace_back();
        if (mask & 1) live.back() = in.array<std::uint8_t>(collection.documents.size());
        for (std::uint8_t& one : live.back()) one = one % 64 < (1 << (mask >> 1 & 7)) / 2;
    }
    const toy::Parts parts(world.views, live);
    const std::vector<std::uint64_t> expected = toy::brute_force(collections, live, ask);
    for (const int pages : {0, mask >> 5}) {
        ask.pages = std::size_t(pages);
        for (const lsr::Cpu cpu : lsr::kCpus)
            for (const lsr::Algorithm algorithm : toy::kAlgorithms) {
                if (!lsr::has_cpu(cpu)) continue;
                const toy::Answer answer = toy::search(parts, ask, algorithm, scratch, cpu);
                if (pages == 0 && !answer.report.exact) std::abort();
                if (!answer.report.exact || answer.keys == expected) continue;
                std::fprintf(stderr, "fuzz_query: algorithm %d on %s differs from brute force\n",
                             int(algorithm), lsr::cpu_name(cpu));
                std::abort();
            }
    }
    return 0;
}
