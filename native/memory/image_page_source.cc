#include "memory/image_page_source.h"

#include <map>

#include "memory/mapping.h"

namespace tsvmm {

Result<std::shared_ptr<PageSource>> ImagePageSource::open(std::shared_ptr<const ImageChain> chain) {
  if (chain->first_gap()) return Failure{EBADMSG, "memory image: a page is in no layer"};
  return std::shared_ptr<PageSource>(new ImagePageSource(std::move(chain)));
}

Result<PageKind> ImagePageSource::read(uint64_t image_page, std::span<std::byte, kImagePageSize> page) {
  if (image_page >= chain_->pages()) return Failure{EIO, "read past the end of the memory image"};
  const auto layer = chain_->layer_of(image_page);
  if (!layer) return Failure{EBADMSG, "memory image: a page is in no layer"};
  const auto& reader = *chain_->layers()[*layer];
  if (reader.kind(image_page) == PageKind::kZero) return PageKind::kZero;
  if (auto read = reader.read_page(image_page, page); !read) return read.failure();
  return PageKind::kData;
}

Result<> show_contents(const RamMap& map, const ImageChain& chain) {
  uint64_t pages = 0;
  for (const auto& range : map.ranges()) pages += range.size / kPageBytes;
  if (pages != chain.pages()) return Failure{EINVAL, "memory image: of other memory"};
  // Several ranges may be parts of one mapping.
  std::map<std::shared_ptr<Mapping>, PageBitmap> contents;
  uint64_t first = 0;
  for (const auto& range : map.ranges()) {
    auto& of_mapping = contents.try_emplace(range.mapping, range.mapping->size() / kPageBytes).first->second;
    const auto place = static_cast<uint64_t>(range.host - range.mapping->host()) / kPageBytes;
    const auto count = range.size / kPageBytes;
    const auto data = chain.data_pages(first, count);
    for (uint64_t page = 0; page < count; ++page) {
      if (data.test(page)) of_mapping.set(place + page);
    }
    first += count;
  }
  for (auto& [mapping, bitmap] : contents) {
    mapping->set_contents(std::make_shared<const PageBitmap>(std::move(bitmap)));
  }
  return Unit{};
}

}  // namespace tsvmm
