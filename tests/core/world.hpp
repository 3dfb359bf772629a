// Random worlds: what an index may hold, and what it may be asked.
#pragma once

#include <cstdint>
#include <vector>

#include "segment_view.hpp"
#include "toy.hpp"

namespace toy {

// A few segments of one collection, as an index has them. Their vocabularies may differ in size.
struct World {
    std::vector<Collection> collections;
    std::vector<Arrays> arrays;
    std::vector<lsr::SegmentView> views;
    std::uint32_t n_terms = 0;
    bool filtered;  // masks leave few documents, and all vectors are stored

    World(Random& random, std::uint32_t largest) : filtered(random.chance(30)) {
        const std::uint32_t vocabulary = random.one_of({1u, 3u, 60u, 400u, 400u, 70000u});
        const std::uint32_t levels = random.one_of({1u, 3u, 40u, 255u});
        const std::uint32_t mean = random.one_of({1u, 4u, 12u});
        const std::uint32_t n_segments = 1 + random.below(3);
        std::uint32_t docid = 0;
        for (std::uint32_t s = 0; s < n_segments; ++s) {
            const std::uint32_t n_docs = random.one_of({0u, 1u, 31u, 257u, 700u, 2049u, largest});
            const std::uint32_t terms = random.chance(60) ? vocabulary : vocabulary / 2 + 1;
            collections.push_back(random_collection(random, n_docs, terms, mean, levels, docid));
            Layout layout;
            layout.head_df = random.one_of({1u, 8u, 64u, 300u, 300u, 1u << 30});
            layout.grid = filtered || !random.chance(20);
            layout.wide = terms > 65535;
            layout.forward = filtered || random.chance(60);
            arrays.push_back(lay_out(collections.back(), layout));
            docid += n_docs;
            n_terms = std::max(n_terms, terms);
        }
        for (const Arrays& one : arrays) {
            views.push_back(one.view());
            views.back().check();
        }
    }

    std::vector<Live> live(Random& random) const {
        std::vector<Live> masks;
        for (const Collection& collection : collections) {
            Live mask;
            // Per thousand: so few that documents are scored one by one, up to nearly all.
            const std::uint32_t share =
                filtered ? random.one_of({1u, 5u, 20u}) : random.one_of({0u, 1u, 20u, 500u, 980u});
            if (filtered || !random.chance(40)) {
                mask.resize(collection.documents.size());
                for (std::uint8_t& one : mask) one = random.below(1000) < share;
            }
            masks.push_back(mask);
        }
        return masks;
    }

    std::vector<const Collection*> all() const {
        std::vector<const Collection*> pointers;
        for (const Collection& collection : collections) pointers.push_back(&collection);
        return pointers;
    }

    Ask ask(Random& random) const {
        const std::uint32_t n = random.one_of({0u, 1u, 5u, 44u, 300u, 900u});
        const std::size_t k = random.one_of<std::size_t>({0, 1, 10, 100, 5000, SIZE_MAX});
        return random_ask(random, n_terms, n, k);
    }
};

}  // namespace toy
