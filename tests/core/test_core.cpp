// Every algorithm on every instruction path of this machine returns the brute-force ranking, and
// every path of the sweep gives the bounds that its definition gives.
//
// usage: test_core [WORLDS [SEED]]. `make test-core` runs it, `make sanitize` runs it under the
// address, undefined-behaviour and thread sanitizers, `make test-neon` on an emulated ARM machine.
#include <cinttypes>
#include <cstdio>
#include <cstdlib>
#include <iterator>
#include <new>
#include <string>
#include <thread>

#include "searching.hpp"
#include "world.hpp"

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define COUNTS_ALLOCATIONS 1
#pragma GCC diagnostic ignored "-Wmismatched-new-delete"  // ours: malloc and free are a pair
namespace {
std::atomic<std::size_t> n_allocations{0};
}
void* operator new(std::size_t n) {
    ++n_allocations;
    if (void* p = std::malloc(n)) return p;
    throw std::bad_alloc();
}
void operator delete(void* p) noexcept { std::free(p); }
void operator delete(void* p, std::size_t) noexcept { std::free(p); }
#endif

namespace {

using toy::Random;
using toy::World;

std::vector<lsr::Cpu> cpus() {
    std::vector<lsr::Cpu> all;
    for (const lsr::Cpu cpu : lsr::kCpus)
        if (lsr::has_cpu(cpu)) all.push_back(cpu);
    return all;
}

std::size_t n_checks = 0;

void expect(bool holds, const std::string& what) {
    ++n_checks;
    if (holds) return;
    std::fprintf(stderr, "test_core: %s\n", what.c_str());
    std::exit(1);
}

// The definition of a bound, one block and one term at a time; `phase` counts from the terms on.
std::uint16_t defined_bound(std::span<const lsr::SweepTerm> terms, std::size_t block) {
    std::uint32_t sum = 0;
    for (const lsr::SweepTerm& term : terms) {
        const std::uint8_t byte = term.cells[block / 64 * 32 + block % 32];
        const std::uint32_t code = block % 64 < 32 ? byte & 15 : byte >> 4;
        sum += std::uint32_t(term.low[code] | term.high[code] << 8);
    }
    return std::uint16_t(std::min(sum, 65535u));
}

void bounds_are_saturated_sums(Random& random) {
    for (const std::size_t stride : {64u, 128u, 4096u, 8192u, 8256u, 24640u})
        for (const std::size_t n_terms : {0u, 1u, 2u, 3u, 4u, 5u, 11u, 13u, 30u}) {
            std::vector<std::uint8_t> cells(n_terms * stride / 2);
            for (std::uint8_t& cell : cells) cell = std::uint8_t(random.below(256));
            std::vector<lsr::SweepTerm> terms(n_terms);
            for (std::size_t t = 0; t < n_terms; ++t) {
                terms[t].cells = cells.data() + t * stride / 2;
                const std::uint32_t largest = random.one_of({300u, 65535u});
                for (std::size_t c = 0; c < lsr::kCodes; ++c) {
                    const std::uint32_t bound = random.below(largest + 1);
                    terms[t].low[c] = std::uint8_t(bound & 255);
                    terms[t].high[c] = std::uint8_t(bound >> 8);
                }
            }
            std::vector<std::size_t> from = {0};
            for (const std::size_t phase : {12u, 24u, 25u})
                if (phase < n_terms) from.push_back(phase);
            for (const lsr::Cpu cpu : cpus()) {
                std::vector<std::vector<std::uint16_t>> bounds(
                    from.size(), std::vector<std::uint16_t>(stride, 7));
                lsr::sweep(terms, from, stride, bounds, cpu);
                for (std::size_t p = 0; p < from.size(); ++p)
                    for (std::size_t b = 0; b < stride; ++b)
                        expect(bounds[p][b] == defined_bound(std::span(terms).subspan(from[p]), b),
                               std::string(lsr::cpu_name(cpu)) + ": bound of block " +
                                   std::to_string(b) + " of " + std::to_string(stride) + ", " +
                                   std::to_string(n_terms) + " terms");
                std::vector<std::uint16_t> page_max(stride / lsr::kBlocksPerPage);
                lsr::page_maxima(bounds[0].data(), page_max.data(), page_max.size(), cpu);
                for (std::size_t p = 0; p < page_max.size(); ++p) {
                    const std::uint16_t* page = bounds[0].data() + p * lsr::kBlocksPerPage;
                    expect(page_max[p] == *std::max_element(page, page + lsr::kBlocksPerPage),
                           std::string(lsr::cpu_name(cpu)) + ": page maximum");
                }
            }
        }
}

// The whole of rank safety in one inequality: what a block promises is not below what its documents
// score, in the fixed point of the thresholds.
void no_bound_is_below_a_score(Random& random, const World& world) {
    for (std::size_t s = 0; s < world.views.size(); ++s) {
        const lsr::SegmentView& view = world.views[s];
        if (!view.has_grid) continue;
        const toy::Ask ask = toy::random_ask(random, world.n_terms, 1 + random.below(80), SIZE_MAX);
        lsr::Prepared query;
        query.prepare(view, {ask.terms, ask.weights});
        std::vector<lsr::SweepTerm> terms;
        for (const lsr::HeadTerm& term : query.heads)
            terms.push_back(lsr::sweep_term(view, query, term));
        std::vector<std::uint32_t> score(view.n_docs);
        for (std::size_t d = 0; d < view.n_docs; ++d)
            for (const toy::Posting& posting : world.collections[s].documents[d]) {
                const auto found =
                    std::lower_bound(ask.terms.begin(), ask.terms.end(), posting.term);
                if (found != ask.terms.end() && *found == posting.term)
                    score[d] += posting.impact * ask.weights[found - ask.terms.begin()];
            }
        const std::size_t from[] = {0};
        for (const lsr::Cpu cpu : cpus()) {
            std::vector<std::vector<std::uint16_t>> bounds = {
                std::vector<std::uint16_t>(view.stride)};
            lsr::sweep(terms, from, view.stride, bounds, cpu);
            lsr::add_tail_bounds(view, query, bounds[0].data());
            for (std::size_t d = 0; d < view.n_docs; ++d)
                expect(bounds[0][d / lsr::kBlock] >= query.floor_bound(score[d]),
                       std::string(lsr::cpu_name(cpu)) + ": the bound of document " +
                           std::to_string(d));
        }
    }
}

std::string told(lsr::Cpu cpu, lsr::Algorithm algorithm, const toy::Ask& ask) {
    return std::string(lsr::cpu_name(cpu)) + ": algorithm " + std::to_string(int(algorithm)) +
           ", k = " + std::to_string(ask.k) + ", " + std::to_string(ask.terms.size()) + " terms, " +
           (ask.by_group ? "by group, " : "") + std::to_string(ask.pages) + " pages";
}

// Each key is that of a document with its true score; those left out do not score more than the
// report admits; an answer that claims to be exact is.
void expect_honest(const toy::Answer& answer, const std::vector<std::uint64_t>& all, std::size_t k,
                   const std::string& what) {
    std::vector<std::uint64_t> missing, best = all;
    best.resize(std::min(best.size(), k));
    std::set_difference(best.begin(), best.end(), answer.keys.begin(), answer.keys.end(),
                        std::back_inserter(missing), std::greater<>{});
    for (const std::uint64_t key : missing)
        expect(key >> 32 <= answer.report.skipped,
               what + ": more was skipped than the report says");
    expect(answer.keys.size() <= k, what + ": more than k");
    expect(!answer.report.exact || missing.empty(), what + ": not exact as it claims to be");
}

void every_search_is_the_brute_force_ranking(Random& random, lsr::Scratch& scratch,
                                             const World& world) {
    for (int i = 0; i < 4; ++i) {
        const std::vector<toy::Live> masks = world.live(random);
        const toy::Parts parts(world.views, masks);
        toy::Ask ask = world.ask(random);
        const std::vector<std::uint64_t> all = toy::all_keys(world.all(), masks, ask);
        std::vector<std::uint64_t> expected = all;
        expected.resize(std::min(all.size(), ask.k));
        for (const lsr::Cpu cpu : cpus())
            for (const lsr::Algorithm algorithm : toy::kAlgorithms) {
                ask.pages = 0;
                const toy::Answer exact = toy::search(parts, ask, algorithm, scratch, cpu);
                expect(exact.keys == expected && exact.report.exact, told(cpu, algorithm, ask));
                ask.pages = random.one_of<std::size_t>({1, 5, 100, SIZE_MAX});
                const toy::Answer some = toy::search(parts, ask, algorithm, scratch, cpu);
                expect_honest(some, all, ask.k, told(cpu, algorithm, ask));
                if (!ask.by_group)  // a group may come with a lesser passage
                    expect(std::includes(all.begin(), all.end(), some.keys.begin(), some.keys.end(),
                                         std::greater<>{}),
                           told(cpu, algorithm, ask) + ": a wrong score");
            }
    }
}

// However early the flag is raised, what comes back is true and says that it was cut short.
void a_stopped_search_says_so(Random& random, lsr::Scratch& scratch, const World& world) {
    const std::vector<toy::Live> masks = world.live(random);
    const toy::Parts parts(world.views, masks);
    const toy::Ask ask = world.ask(random);
    const std::vector<std::uint64_t> all = toy::all_keys(world.all(), masks, ask);
    const std::atomic<bool> raised{true};
    lsr::Stop stop;
    stop.cancelled = &raised;
    for (const lsr::Algorithm algorithm : toy::kAlgorithms)
        expect_honest(toy::search(parts, ask, algorithm, scratch, lsr::best_cpu(), &stop), all,
                      ask.k, "stopped at once");
    stop.cancelled = nullptr;
    stop.deadline = lsr::Stop::Clock::now() + std::chrono::microseconds(random.below(200));
    expect_honest(toy::search(parts, ask, toy::kAlgorithms[0], scratch, lsr::best_cpu(), &stop),
                  all, ask.k, "stopped on the way");
}

void a_batch_is_its_queries_one_by_one(Random& random, const World& world) {
    const std::vector<toy::Live> masks = world.live(random);
    const toy::Parts parts(world.views, masks);
    std::vector<toy::Ask> asks;
    for (int i = 0; i < 24; ++i) {
        const std::uint32_t n = random.below(60);
        asks.push_back(toy::random_ask(random, world.n_terms, n, 20));
    }
    for (const lsr::Algorithm algorithm : toy::kAlgorithms) {
        const auto batch = toy::search_batch(parts, asks, algorithm, 4, lsr::best_cpu());
        for (std::size_t i = 0; i < asks.size(); ++i)
            expect(batch[i].keys == toy::brute_force(world.all(), masks, asks[i]),
                   "batch, query " + std::to_string(i));
    }
    // A flag that another thread raises while the batch runs.
    std::atomic<bool> raised{false};
    lsr::Stop stop;
    stop.cancelled = &raised;
    std::thread raise([&] { raised = true; });
    toy::search_batch(parts, asks, toy::kAlgorithms[0], 4, lsr::best_cpu(), &stop);
    raise.join();
}

// The dense form of the query was made for the first segment and kept for a wider one, whose
// further terms then scored nothing.
void a_later_segment_may_know_more_terms() {
    std::vector<toy::Collection> collections;
    std::vector<toy::Arrays> arrays;
    std::vector<lsr::SegmentView> views;
    std::vector<toy::Live> masks;
    toy::Layout layout;
    layout.forward = true;
    for (const std::uint32_t n_terms : {100u, 200u}) {
        toy::Collection collection;
        collection.n_terms = n_terms;
        for (std::uint32_t d = 0; d < 600; ++d) {
            collection.documents.push_back({{5, 7}, {n_terms - 50, 9}});
            collection.docids.push_back(n_terms * 1000 + d);
        }
        collections.push_back(collection);
        arrays.push_back(toy::lay_out(collection, layout));
        masks.emplace_back(600);
        masks.back()[n_terms] = 1;
    }
    for (const toy::Arrays& one : arrays) {
        views.push_back(one.view());
        views.back().check();
    }
    lsr::Scratch scratch;
    const toy::Ask ask{{5, 150}, {1, 1}, 10, false, 0};
    const toy::Collection* const all[] = {&collections[0], &collections[1]};
    expect(toy::search({views, masks}, ask, lsr::Algorithm::automatic, scratch, lsr::best_cpu())
                   .keys == toy::brute_force(all, masks, ask),
           "a later segment knows more terms");
}

#ifdef COUNTS_ALLOCATIONS
// A thread that has searched before takes no memory for the next query, whatever it asks.
void a_warm_search_allocates_nothing(Random& random) {
    const World world(random, 40000);
    lsr::Scratch scratch;
    const std::vector<toy::Live> masks = world.live(random);
    const toy::Parts parts(world.views, masks);
    for (const lsr::Algorithm algorithm : toy::kAlgorithms) {
        toy::Ask ask = world.ask(random);
        const lsr::Request request = toy::request_of(ask, algorithm, nullptr);
        lsr::Report report;
        for (int i = 0; i < 2; ++i)
            lsr::search(parts.all, request, scratch, lsr::best_cpu(), report);
        const std::size_t before = n_allocations;
        lsr::search(parts.all, request, scratch, lsr::best_cpu(), report);
        const std::size_t taken = n_allocations - before;  // the message below takes memory, too
        expect(taken == 0, "a warm search allocates");
    }
}
#endif

// Lengths that add up are not enough: each array would be read as far as both reach.
void two_widths_of_one_array_are_refused(Random& random) {
    const toy::Collection collection = toy::random_collection(random, 40, 10, 4, 3, 0);
    toy::Layout layout;
    layout.forward = true;
    const toy::Arrays arrays = toy::lay_out(collection, layout);
    const std::vector<std::uint32_t> wide(arrays.forward_term16.size() - 1);
    for (const bool rank : {true, false}) {
        lsr::SegmentView view = arrays.view();
        if (rank) {
            view.head_rank16 = view.head_rank16.first(1);
            view.head_rank32 = std::span(wide).first(9);
        } else {
            view.forward_term16 = view.forward_term16.first(1);
            view.forward_term32 = wide;
        }
        bool refused = false;
        try {
            view.check();
        } catch (const lsr::Corrupt&) {
            refused = true;
        }
        expect(refused, "two widths of one array");
    }
}

void the_documents_with_a_term_are_those_that_hold_it(Random& random, const World& world) {
    for (std::size_t s = 0; s < world.views.size(); ++s) {
        const std::uint32_t term = random.below(world.n_terms + 1);
        const std::vector<std::uint32_t> words = lsr::documents_with(world.views[s], term);
        for (std::size_t d = 0; d < world.views[s].n_docs; ++d) {
            const std::vector<toy::Posting>& document = world.collections[s].documents[d];
            const bool holds = std::any_of(document.begin(), document.end(),
                                           [&](const toy::Posting& p) { return p.term == term; });
            expect((words[d / 32] >> (d % 32) & 1) == holds, "documents_with");
        }
    }
}

}  // namespace

int main(int argc, char** argv) {
    const int n_worlds = argc > 1 ? std::atoi(argv[1]) : 400;
    const std::uint64_t seed = argc > 2 ? std::strtoull(argv[2], nullptr, 10) : 1;
    Random random(seed);
    bounds_are_saturated_sums(random);
    a_later_segment_may_know_more_terms();
    two_widths_of_one_array_are_refused(random);
#ifdef COUNTS_ALLOCATIONS
    for (int i = 0; i < 5; ++i) a_warm_search_allocates_nothing(random);
#endif
    lsr::Scratch used, fresh;
    for (int i = 0; i < n_worlds; ++i) {
        // A thread searches one index after another; what is left of one must not help or harm.
        lsr::Scratch& scratch = i % 2 ? used : (fresh = {});
        // Now and then large enough for two groups of pages and for blockmax to be chosen.
        const World world(random, i % 20 == 0 ? 40000 : 3000);
        no_bound_is_below_a_score(random, world);
        every_search_is_the_brute_force_ranking(random, scratch, world);
        a_stopped_search_says_so(random, scratch, world);
        the_documents_with_a_term_are_those_that_hold_it(random, world);
        if (i % 4 == 0) a_batch_is_its_queries_one_by_one(random, world);
    }
    std::string paths;
    for (const lsr::Cpu cpu : cpus()) paths += std::string(" ") + lsr::cpu_name(cpu);
    std::printf("test_core  %zu checks passed on%s; %d worlds from seed %" PRIu64 "\n", n_checks,
                paths.c_str(), n_worlds, seed);
}
