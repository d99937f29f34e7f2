#include "memory/layered_mapping.h"

#include <algorithm>
#include <cstring>
#include <vector>

namespace tsvmm {

namespace {

// Neighbouring pages that differ from the oldest layer and come from one other.
struct Run {
  uint64_t first;
  uint64_t pages;
  size_t layer;
  bool is_zero;

  bool is_continued_by(const Run& next) const {
    return first + pages == next.first && layer == next.layer && is_zero == next.is_zero;
  }
};

void append(std::vector<Run>& runs, const Run& run) {
  if (runs.empty() || !runs.back().is_continued_by(run)) return runs.push_back(run);
  runs.back().pages += run.pages;
}

void append_runs(std::vector<Run>& runs, uint64_t first, const SpanMask& mask, size_t layer, bool is_zero) {
  for_each_run(mask, [&](unsigned page, unsigned pages) { append(runs, {first + page, pages, layer, is_zero}); });
}

// Of the pages [first, end), in any order.
std::vector<Run> newer_runs(const ImageChain& chain, uint64_t first, uint64_t end) {
  const auto oldest = chain.layers().size() - 1;
  if (oldest == 0) return {};
  std::vector<std::vector<Run>> of_layer(2 * oldest);
  for (auto span = first / kSpanPages; span * kSpanPages < end; ++span) {
    const auto begin = span * kSpanPages;
    SpanMask inside{};
    for (auto page = std::max(first, begin); page < std::min(end, begin + kSpanPages); ++page) {
      set(inside, static_cast<unsigned>(page - begin));
    }
    // Where the oldest has a hole it is zero already.
    const auto data_of_oldest = chain.layers()[oldest]->index().data.span(span);
    chain.resolve(span, [&](size_t layer, const SpanMask& pages) {
      if (layer == oldest) return;
      const auto data = chain.layers()[layer]->index().data.span(span);
      append_runs(of_layer[2 * layer], begin, inside & pages & data, layer, false);
      append_runs(of_layer[2 * layer + 1], begin, inside & pages & ~data & data_of_oldest, layer, true);
    });
  }
  std::vector<Run> runs;
  for (const auto& each : of_layer) runs.insert(runs.end(), each.begin(), each.end());
  return runs;
}

Result<> copy_run(Mapping& mapping, const ImageChain& chain, uint64_t first_page, const Run& run) {
  auto* host = mapping.host() + (run.first - first_page) * kPageBytes;
  for (uint64_t page = 0; page < run.pages; ++page, host += kPageBytes) {
    auto read = chain.layers()[run.layer]->read_page(run.first + page, ImageReader::Page(host, kPageBytes));
    if (!read) return read;
  }
  return Unit{};
}

Result<> map_run(Mapping& mapping, const ImageChain& chain, uint64_t first_page, const Run& run) {
  const auto fd = run.is_zero ? -1 : chain.layers()[run.layer]->fd();
  return mapping.overlay((run.first - first_page) * kPageBytes, run.pages * kPageBytes, fd, run.first * kPageBytes);
}

Result<> check(const ImageChain& chain, uint64_t first_page, const MappingOptions& options) {
  const bool is_anonymous = options.backing == MappingOptions::Backing::kAnonymous && !options.shared;
  const auto is_image = [](const auto& layer) { return layer->index().form == ImageForm::kImage; };
  if (!is_anonymous || options.huge_page_size != 0 || options.size == 0 || options.size % kPageBytes != 0 ||
      first_page > chain.pages() || options.size / kPageBytes > chain.pages() - first_page ||
      !std::ranges::all_of(chain.layers(), is_image)) {
    return Failure{EINVAL, "map memory image"};
  }
  if (chain.first_gap()) return Failure{EBADMSG, "memory image: a page is in no layer"};
  return Unit{};
}

}  // namespace

Result<std::shared_ptr<Mapping>> map_layers(const ImageChain& chain, uint64_t first_page, const MappingOptions& options,
                                            MappingBudget& budget) {
  if (auto checked = check(chain, first_page, options); !checked) return checked.failure();
  return Mapping::create(options, [&](Mapping& mapping) -> Result<> {
    const auto& oldest = *chain.layers().back();
    if (auto mapped = mapping.overlay(0, options.size, oldest.fd(), first_page * kPageBytes); !mapped) return mapped;
    auto runs = newer_runs(chain, first_page, first_page + options.size / kPageBytes);
    // The longest are worth a mapping the most.
    const auto mapped_runs = std::min<uint64_t>(budget.runs, runs.size());
    const auto middle = runs.begin() + static_cast<ptrdiff_t>(mapped_runs);
    std::ranges::nth_element(runs, middle, std::ranges::greater(), &Run::pages);
    for (auto run = runs.begin(); run != runs.end(); ++run) {
      auto done = run < middle ? map_run(mapping, chain, first_page, *run) : copy_run(mapping, chain, first_page, *run);
      if (!done) return done;
    }
    budget.runs -= mapped_runs;
    mapping.set_contents(std::make_shared<const PageBitmap>(chain.data_pages(first_page, options.size / kPageBytes)));
    return Unit{};
  });
}

}  // namespace tsvmm
