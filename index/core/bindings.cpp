// The only file that knows Python: it turns arrays into spans, checks lengths, releases the GIL and
// hands arrays back.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <atomic>
#include <chrono>
#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include "bisection.hpp"
#include "containing.hpp"
#include "search.hpp"

namespace nb = nanobind;
using namespace nb::literals;

namespace {

template <class T>
using In = nb::ndarray<const T, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
template <class T>
using Out = nb::ndarray<nb::numpy, T, nb::ndim<1>>;
using Answer = std::tuple<Out<std::uint32_t>, Out<std::uint32_t>, lsr::Report>;
using Words = std::optional<In<std::uint32_t>>;

template <class T>
std::span<const T> span(const In<T>& array) {
    return {array.data(), array.shape(0)};
}

// Arrays stay alive as long as the view: the map under them must not vanish while a search reads
// it.
struct Segment {
    lsr::SegmentView view;
    std::vector<nb::object> owners;
};

// Tests force a path through set_cpu; nothing else writes it.
std::atomic<lsr::Cpu> chosen_cpu{lsr::best_cpu()};

void set_cpu(const std::string& name) {
    if (name == "auto") {
        chosen_cpu = lsr::best_cpu();
        return;
    }
    for (const lsr::Cpu cpu : lsr::kCpus)
        if (name == lsr::cpu_name(cpu) && lsr::has_cpu(cpu)) {
            chosen_cpu = cpu;
            return;
        }
    throw nb::value_error("set_cpu takes 'auto' or a name that cpus() lists");
}

std::string cpu() { return lsr::cpu_name(chosen_cpu.load()); }

std::vector<std::string> cpus() {
    std::vector<std::string> names;
    for (const lsr::Cpu cpu : lsr::kCpus)
        if (lsr::has_cpu(cpu)) names.push_back(lsr::cpu_name(cpu));
    return names;
}

// A flag that another thread may raise to end the searches that were given it.
struct Cancel {
    std::atomic<bool> raised{false};
};

std::vector<lsr::Part> parts_of(const std::vector<const Segment*>& segments,
                                const std::vector<Words>& live) {
    if (segments.size() != live.size())
        throw nb::value_error("search needs live words (or None) for each segment");
    std::vector<lsr::Part> parts;
    for (std::size_t i = 0; i < segments.size(); ++i) {
        lsr::Part part{&segments[i]->view, {}};
        if (live[i]) {
            part.live.words = span(*live[i]);
            if (part.live.words.size() != (std::size_t(part.segment->n_docs) + 31) / 32)
                throw nb::value_error("live has one word for each 32 documents of its segment");
        }
        parts.push_back(part);
    }
    // The largest segment first: its threshold prunes the others best. The answer does not depend
    // on it.
    std::stable_sort(parts.begin(), parts.end(), [](const lsr::Part& a, const lsr::Part& b) {
        return a.segment->n_docs > b.segment->n_docs;
    });
    return parts;
}

lsr::Query query_of(std::span<const std::uint32_t> terms, std::span<const std::uint16_t> weights) {
    if (terms.size() > lsr::kMaxQueryTerms)
        throw nb::value_error("a query has at most 4,112 terms");
    for (const std::uint16_t weight : weights)
        if (weight == 0 || weight > lsr::kMaxQueryWeight)
            throw nb::value_error("query weights are 1..4095");
    return {terms, weights};
}

template <class T>
Out<T> array_of(std::vector<T>&& values) {
    auto* owned = new std::vector<T>(std::move(values));
    nb::capsule owner(owned, [](void* p) noexcept { delete static_cast<std::vector<T>*>(p); });
    return Out<T>(owned->data(), {owned->size()}, owner);
}

Answer answer_of(const std::vector<std::uint64_t>& keys, const lsr::Report& report) {
    std::vector<std::uint32_t> docids(keys.size()), scores(keys.size());
    for (std::size_t i = 0; i < keys.size(); ++i) {
        docids[i] = ~std::uint32_t(keys[i]);
        scores[i] = std::uint32_t(keys[i] >> 32);
    }
    return {array_of(std::move(docids)), array_of(std::move(scores)), report};
}

lsr::Stop stop_of(std::optional<double> timeout, const Cancel* cancel) {
    lsr::Stop stop;
    if (timeout) {
        // Clamped to 1 ns .. 30 years: the clock counts nanoseconds in 64 bits.
        const double seconds = std::clamp(*timeout, 1e-9, 1e9);
        stop.deadline =
            lsr::Stop::Clock::now() + std::chrono::duration_cast<lsr::Stop::Clock::duration>(
                                          std::chrono::duration<double>(seconds));
    }
    if (cancel) stop.cancelled = &cancel->raised;
    return stop;
}

Answer search(const std::vector<const Segment*>& segments, const std::vector<Words>& live,
              const In<std::uint32_t>& terms, const In<std::uint16_t>& weights, std::size_t k,
              lsr::Algorithm algorithm, std::size_t blocks, bool by_group,
              std::optional<double> timeout, const Cancel* cancel) {
    if (terms.shape(0) != weights.shape(0)) throw nb::value_error("one weight for each term");
    const std::vector<lsr::Part> parts = parts_of(segments, live);
    const lsr::Stop stop = stop_of(timeout, cancel);
    const lsr::Request request{query_of(span(terms), span(weights)), k, algorithm, blocks, by_group,
                               timeout || cancel ? &stop : nullptr};
    thread_local lsr::Scratch scratch;
    lsr::Report report;
    const std::vector<std::uint64_t>* keys = nullptr;
    {
        nb::gil_scoped_release release;
        keys = &lsr::search(parts, request, scratch, chosen_cpu.load(), report);
    }
    return answer_of(*keys, report);
}

// How often a batch looks whether the user pressed Ctrl-C.
constexpr std::chrono::milliseconds kSignalEvery{50};

std::vector<Answer> search_batch(const std::vector<const Segment*>& segments,
                                 const std::vector<Words>& live, const In<std::uint64_t>& offsets,
                                 const In<std::uint32_t>& terms, const In<std::uint16_t>& weights,
                                 std::size_t k, std::size_t threads, lsr::Algorithm algorithm,
                                 std::size_t blocks, bool by_group, std::optional<double> timeout,
                                 const Cancel* cancel) {
    if (terms.shape(0) != weights.shape(0)) throw nb::value_error("one weight for each term");
    const std::span<const std::uint64_t> starts = span(offsets);
    if (starts.empty() || starts.front() != 0 || starts.back() != terms.shape(0))
        throw nb::value_error("offsets run from 0 to the number of terms");
    const std::vector<lsr::Part> parts = parts_of(segments, live);
    const lsr::Stop stop = stop_of(timeout, cancel);
    std::vector<lsr::Request> requests;
    for (std::size_t i = 0; i + 1 < starts.size(); ++i) {
        if (starts[i + 1] < starts[i] || starts[i + 1] > terms.shape(0))
            throw nb::value_error("offsets must not decrease");
        const std::size_t n = starts[i + 1] - starts[i];
        const lsr::Query query =
            query_of(span(terms).subspan(starts[i], n), span(weights).subspan(starts[i], n));
        requests.push_back(
            {query, k, algorithm, blocks, by_group, timeout || cancel ? &stop : nullptr});
    }
    std::vector<std::vector<std::uint64_t>> keys(requests.size());
    std::vector<lsr::Report> reports(requests.size());
    bool interrupted = false;
    {
        nb::gil_scoped_release release;
        auto looked = lsr::Stop::Clock::now();
        lsr::search_batch(parts, requests, threads, keys, reports, chosen_cpu.load(), [&] {
            const auto now = lsr::Stop::Clock::now();
            if (now - looked < kSignalEvery) return false;
            looked = now;
            const nb::gil_scoped_acquire acquire;
            return interrupted = PyErr_CheckSignals() != 0;
        });
    }
    if (interrupted) throw nb::python_error();
    std::vector<Answer> answers;
    answers.reserve(keys.size());
    for (std::size_t i = 0; i < keys.size(); ++i) answers.push_back(answer_of(keys[i], reports[i]));
    return answers;
}

using Quantised = std::tuple<Out<std::uint32_t>, Out<std::uint16_t>, double>;

std::optional<Quantised> quantise(const In<std::int32_t>& terms, const In<float>& weights,
                                  std::size_t n_terms) {
    const std::size_t n = terms.shape(0);
    if (n != weights.shape(0)) throw nb::value_error("one weight for each term");
    if (n > lsr::kMaxQueryTerms) return std::nullopt;
    std::vector<std::uint16_t> steps(n);
    const double heaviest = lsr::quantise(span(terms), span(weights), n_terms, steps.data());
    if (heaviest == 0) return std::nullopt;
    std::vector<std::uint32_t> kept(terms.data(), terms.data() + n);
    return Quantised{array_of(std::move(kept)), array_of(std::move(steps)), heaviest};
}

Out<std::uint32_t> documents_with(const Segment& segment, std::uint32_t term) {
    std::vector<std::uint32_t> words;
    {
        nb::gil_scoped_release release;
        words = lsr::documents_with(segment.view, term);
    }
    return array_of(std::move(words));
}

Out<std::uint32_t> order_documents(const In<std::uint64_t>& starts, const In<std::uint32_t>& terms,
                                   std::size_t n_terms, std::size_t threads) {
    const std::span<const std::uint64_t> from = span(starts);
    const std::span<const std::uint32_t> all = span(terms);
    if (from.empty() || from.front() != 0 || from.back() != all.size() ||
        !std::is_sorted(from.begin(), from.end()))
        throw nb::value_error("starts must not decrease and run from 0 to the number of terms");
    if (std::any_of(all.begin(), all.end(), [&](std::uint32_t term) { return term >= n_terms; }))
        throw nb::value_error("a term is not below n_terms");
    std::vector<std::uint32_t> order;
    {
        nb::gil_scoped_release release;
        lsr::Bisection bisection(from, all, n_terms);
        bisection.run(threads);
        order = bisection.order();
    }
    return array_of(std::move(order));
}

}  // namespace

NB_MODULE(_core, m) {
    m.doc() = "The compiled search core: exact top-k over segments that Python mapped and checked.";

    nb::enum_<lsr::Algorithm>(m, "Algorithm", "How the top k is found.")
        .value("automatic", lsr::Algorithm::automatic)
        .value("exhaustive", lsr::Algorithm::exhaustive)
        .value("blockmax", lsr::Algorithm::blockmax);

    nb::class_<Segment>(
        m, "SegmentView",
        "Borrowed arrays of one segment; the constructor raises ValueError naming a bad one.")
        .def(
            "__init__",
            [](Segment* self, std::uint32_t n_docs, const In<std::uint16_t>& head_rank16,
               const In<std::uint32_t>& head_rank32, const In<std::uint8_t>& max_impact,
               const In<std::uint8_t>& codebook, const In<std::uint8_t>& grid,
               const In<std::uint32_t>& row_group, const In<std::uint16_t>& row_dir,
               const In<std::uint64_t>& row_base, const In<std::uint8_t>& rows,
               const In<std::uint32_t>& tail_start, const In<std::uint32_t>& tail_doc,
               const In<std::uint8_t>& tail_impact, const In<std::uint32_t>& external,
               const In<std::uint32_t>& group, const In<std::uint64_t>& forward_start,
               const In<std::uint16_t>& forward_term16, const In<std::uint32_t>& forward_term32,
               const In<std::uint16_t>& forward_weight, const In<std::uint8_t>& impact_of) {
                Segment segment;
                lsr::SegmentView& view = segment.view;
                view.n_docs = n_docs;
                view.head_rank16 = span(head_rank16);
                view.head_rank32 = span(head_rank32);
                view.max_impact = span(max_impact);
                view.codebook = span(codebook);
                view.grid = span(grid);
                view.row_group = span(row_group);
                view.row_dir = span(row_dir);
                view.row_base = span(row_base);
                view.rows = span(rows);
                view.tail_start = span(tail_start);
                view.tail_doc = span(tail_doc);
                view.tail_impact = span(tail_impact);
                view.external = span(external);
                view.group = span(group);
                view.forward_start = span(forward_start);
                view.forward_term16 = span(forward_term16);
                view.forward_term32 = span(forward_term32);
                view.forward_weight = span(forward_weight);
                view.impact_of = span(impact_of);
                try {
                    view.check();
                } catch (const lsr::Corrupt& error) {
                    throw nb::value_error(error.what());
                }
                auto keep = [&](const auto& array) { segment.owners.push_back(nb::cast(array)); };
                keep(head_rank16), keep(head_rank32), keep(max_impact), keep(codebook), keep(grid),
                    keep(row_group);
                keep(row_dir), keep(row_base), keep(rows), keep(tail_start), keep(tail_doc),
                    keep(tail_impact);
                keep(external), keep(group), keep(forward_start), keep(forward_term16);
                keep(forward_term32), keep(forward_weight), keep(impact_of);
                new (self) Segment(std::move(segment));
            },
            "n_docs"_a, "head_rank16"_a.noconvert(), "head_rank32"_a.noconvert(),
            "max_impact"_a.noconvert(), "codebook"_a.noconvert(), "grid"_a.noconvert(),
            "row_group"_a.noconvert(), "row_dir"_a.noconvert(), "row_base"_a.noconvert(),
            "rows"_a.noconvert(), "tail_start"_a.noconvert(), "tail_doc"_a.noconvert(),
            "tail_impact"_a.noconvert(), "external"_a.noconvert(), "group"_a.noconvert(),
            "forward_start"_a.noconvert(), "forward_term16"_a.noconvert(),
            "forward_term32"_a.noconvert(), "forward_weight"_a.noconvert(),
            "impact_of"_a.noconvert())
        .def_prop_ro("has_grid", [](const Segment& self) { return self.view.has_grid; });

    nb::class_<Cancel>(m, "Cancel", "A flag that ends the searches that were given it.")
        .def(nb::init<>())
        .def(
            "set", [](Cancel& self) { self.raised = true; }, "Raise the flag, from any thread.")
        .def("is_set", [](const Cancel& self) { return self.raised.load(); });

    nb::class_<lsr::Report>(m, "Report", "How an answer came about.")
        .def_ro("pages", &lsr::Report::pages)
        .def_ro("pages_scored", &lsr::Report::pages_scored)
        .def_ro("blocks_scored", &lsr::Report::blocks_scored)
        .def_ro("skipped", &lsr::Report::skipped, "No document that was left alone scores more.")
        .def_ro("blockmax", &lsr::Report::blockmax)
        .def_ro("exhaustive", &lsr::Report::exhaustive)
        .def_ro("stopped", &lsr::Report::stopped)
        .def_ro("exact", &lsr::Report::exact);

    m.def("search", &search, "segments"_a, "live"_a.noconvert(), "terms"_a.noconvert(),
          "weights"_a.noconvert(), "k"_a, "algorithm"_a, "blocks"_a = 0, "by_group"_a = false,
          "timeout"_a = nb::none(), "cancel"_a = nb::none(),
          "The k best (docids, scores, report), score descending, docid ascending. Releases the "
          "GIL.");
    m.def("search_batch", &search_batch, "segments"_a, "live"_a.noconvert(),
          "offsets"_a.noconvert(), "terms"_a.noconvert(), "weights"_a.noconvert(), "k"_a,
          "threads"_a, "algorithm"_a, "blocks"_a = 0, "by_group"_a = false,
          "timeout"_a = nb::none(), "cancel"_a = nb::none(),
          "One answer for each query terms[offsets[i]:offsets[i+1]]. Releases the GIL.");
    m.def(
        "quantise", &quantise, "terms"_a.noconvert(), "weights"_a.noconvert(), "n_terms"_a,
        "(terms, 12-bit weights, heaviest weight) of a query whose terms ascend and whose weights "
        "are finite and positive; None for any other.");
    m.def("documents_with", &documents_with, "segment"_a, "term"_a,
          "The live words of the documents that hold a term. Releases the GIL.");
    m.def("order_documents", &order_documents, "starts"_a.noconvert(), "terms"_a.noconvert(),
          "n_terms"_a, "threads"_a,
          "A permutation that puts similar documents side by side: order[position] = document. "
          "Releases the GIL.");
    m.def("cpu", &cpu, "The instruction set the searches use, one of cpus().");
    m.def("cpus", &cpus,
          "The instruction sets this machine offers, best first: 'avx2' or 'neon', "
          "'portable'.");
    m.def("set_cpu", &set_cpu, "name"_a,
          "For tests: one of cpus() forces that path, 'auto' undoes it.");
}
