// Host memory behind guest RAM: one mmap, unmapped when the last user lets go.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>

#include "memory/page_bitmap.h"
#include "sys/result.h"
#include "sys/unique_fd.h"

namespace tsvmm {

struct MappingOptions {
  enum class Backing { kAnonymous, kMemfd, kFile };

  uint64_t size = 0;
  Backing backing = Backing::kAnonymous;
  std::string path = {};
  // A memfd that is there already, which the mapping duplicates; -1: a new one.
  int memfd = -1;
  uint64_t file_offset = 0;
  bool shared = false;
  uint64_t huge_page_size = 0;  // 0, 2 MiB or 1 GiB
  bool mergeable = false;
  bool prefault = false;
  bool thp = false;
  bool reserve = true;
  int host_numa_node = -1;
};

class Mapping {
 public:
  // How to tell, without a touch, that a page is zero because it was never touched.
  enum class Untouched { kUnknown, kNotInPageTable, kHole };

  // `fill` is called before advice is given and pages are faulted in: it overlays what the memory begins with.
  static Result<std::shared_ptr<Mapping>> create(const MappingOptions& options,
                                                 const std::function<Result<>(Mapping&)>& fill = {});
  ~Mapping();
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;

  // Constant after create(); any thread.
  std::byte* host() const { return host_; }
  uint64_t size() const { return size_; }
  int fd() const { return fd_.get(); }

  // Only from create()'s `fill`, of private anonymous memory: maps a part of a file privately over a part of it, or
  // anonymous memory again where `fd` is -1. Whole pages. EINVAL outside the mapping.
  Result<> overlay(uint64_t offset, uint64_t size, int fd, uint64_t file_offset);

  // Gives every page back to the host: the guest reads zeroes from then on, also where the memory began as the private
  // copy of a file.
  Result<> discard();

  // As discard(), a part of whole host pages, which are missing then, as far as the kernel knows, until they are
  // touched or supplied. ENOTSUP where the mapping shows a file.
  Result<> discard(uint64_t offset, uint64_t size);

  // Any thread. The pages of the mapping that are not zero although nobody touched them: the image's that it shows, or
  // that a pager supplies from. Until discard(), which makes it nullptr.
  void set_contents(std::shared_ptr<const PageBitmap> contents);
  std::shared_ptr<const PageBitmap> contents() const;
  // Of the pages that are not in contents().
  Untouched untouched() const;

  // All of it is zero but for what this process wrote, in pages of 4 KiB, and the kernel merges none of them.
  bool is_plain() const;
  bool is_shared() const { return options_.shared; }

 private:
  Mapping(std::byte* host, const MappingOptions& options, UniqueFd fd);
  Result<> advise();

  std::byte* host_;
  uint64_t size_;
  MappingOptions options_;
  UniqueFd fd_;
  std::atomic<bool> shows_file_;
  mutable std::mutex mutex_;
  std::shared_ptr<const PageBitmap> contents_;
};

}  // namespace tsvmm
