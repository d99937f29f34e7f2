// Writes guest RAM into the memory file of a snapshot, in one pass or several.
#pragma once

#include <array>
#include <atomic>
#include <memory>
#include <optional>
#include <vector>

#include "memory/guest_memory.h"
#include "memory/image_base.h"
#include "memory/image_index.h"
#include "memory/image_space.h"
#include "memory/page_bitmap.h"
#include "memory/residency.h"
#include "memory/span_job.h"
#include "sys/unique_fd.h"

namespace tsvmm {

// Pages of a span on their way from the guest into the file.
struct SpanCopy {
  uint64_t span = 0;
  SpanMask asked{};
  SpanMask wanted{};  // those that the layer is to have
  SpanMask judged{};  // of these, the ones that it is not to have where they are as in the base
  SpanMask copied{};
  std::vector<std::byte> pages;  // those that were copied, one after the other
};

class ImageWriter {
 public:
  struct Options {
    int fd = -1;  // a regular file; duplicated
    ImageForm form = ImageForm::kImage;
    int level = 1;  // zstd: -7 to 19
    unsigned threads = 1;
    // What is as these layers have it is left out: the file becomes a layer on top of them.
    std::shared_ptr<const ImageChain> base = nullptr;
    // What the memory shows of a memory image, or is supplied with from one, is in the base as it is there: pages that
    // nobody wrote are left out unseen.
    bool base_is_shown = false;
  };

  // Empties the file. The RAM ranges are those of now. EINVAL for options out of range, where there is no RAM, or where
  // the base is of other RAM.
  static Result<std::unique_ptr<ImageWriter>> create(const GuestMemory& memory, const Options& options);

  // Any thread, one pass at a time (EBUSY). Writes the pages of `present`, all for nullptr. Each is copied once, and
  // this copy is what is judged and written: the guest may run. A later pass replaces what an earlier one wrote of the
  // same pages; in the zstd form it writes all pages of the spans again that it touches.
  Result<> write(const PageBitmap* present, SpanJob& job);

  // All passes together. EBUSY during one.
  Result<ImageIndex> index();

  uint64_t pages() const { return space_.pages(); }

  // A pass of somebody else's (memory/frozen_image.h), who does with each span what write() does: copies it, and stores
  // the copy, which needs the guest's memory no more. From begin(), EBUSY during another, to end().
  struct Worker;  // what one thread needs
  static std::shared_ptr<Worker> make_worker();
  Result<> begin();
  void end() { is_busy_ = false; }
  // Those of `zero` are taken for that unread.
  void copy(SpanCopy& copy, uint64_t span, const SpanMask& asked, const SpanMask& zero = {}) const;
  Result<> store(Worker& worker, SpanCopy& copy, SpanJob& job);

  const ImageSpace& space() const { return space_; }
  unsigned threads() const { return options_.threads; }

 private:
  using Checksums = std::array<uint32_t, kSpanPages>;

  ImageWriter(ImageSpace space, const Options& options, UniqueFd fd);
  Result<SpanMask> keep_data(Worker& worker, SpanCopy& copy);
  Result<> write_pages(const SpanCopy& copy, const SpanMask& data, const SpanMask& zero);
  Result<> write_frame(Worker& worker, const SpanCopy& copy, const SpanMask& data);
  ImageIndex make_index() const;

  const ImageSpace space_;
  const Options options_;
  const UniqueFd fd_;
  const std::optional<ImageBase> base_;
  const Residency residency_;
  std::atomic<bool> is_busy_ = false;
  std::atomic<uint64_t> file_end_ = 0;  // zstd
  // A span belongs to one worker at a time.
  PageBitmap present_;
  PageBitmap data_;
  std::vector<std::unique_ptr<Checksums>> checksums_;  // image form; nullptr: the span has no data
  std::vector<ImageFrame> frames_;                     // zstd form, of every span
};

}  // namespace tsvmm
