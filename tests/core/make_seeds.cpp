// Writes sound toy segments as inputs of fuzz_segment: make_seeds FOLDER.
#include <fstream>
#include <string>

#include "hostile.hpp"

int main(int argc, char** argv) {
    if (argc != 2) return 2;
    toy::Random random(1);
    for (int i = 0; i < 24; ++i) {
        const std::uint32_t n_docs = random.one_of({0u, 1u, 40u, 257u, 600u, 2047u});
        const std::uint32_t n_terms = random.one_of({1u, 12u, 40u});
        const std::uint32_t levels = random.one_of({1u, 3u, 255u});
        const toy::Collection collection =
            toy::random_collection(random, n_docs, n_terms, 3, levels, 0);
        toy::Layout layout;
        layout.head_df = n_terms == 40 ? n_docs / 10 + 1 : 1;  // at most 31 heads
        layout.grid = !random.chance(20);
        layout.wide = random.chance(30);
        layout.forward = random.chance(50);
        const std::size_t k = random.one_of<std::size_t>({1, 10, 500});
        const toy::Ask ask = toy::random_ask(random, n_terms, 20, k);
        const std::vector<std::uint8_t> bytes =
            toy::write_hostile(toy::lay_out(collection, layout), layout.wide, ask);
        toy::read_hostile(bytes).arrays.view().check();  // throws if a seed is no segment
        std::ofstream(std::string(argv[1]) + "/toy-" + std::to_string(i), std::ios::binary)
            .write(reinterpret_cast<const char*>(bytes.data()), std::streamsize(bytes.size()));
    }
}
