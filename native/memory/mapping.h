// Host memory behind guest RAM: one mmap, unmapped when the last user lets go.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "sys/result.h"
#include "sys/unique_fd.h"

namespace tsvmm {

struct MappingOptions {
  enum class Backing { kAnonymous, kMemfd, kFile };

  uint64_t size = 0;
  Backing backing = Backing::kAnonymous;
  std::string path = {};
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
  static Result<std::shared_ptr<Mapping>> create(const MappingOptions& options);
  ~Mapping();
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;

  // Constant after create(); any thread.
  std::byte* host() const { return host_; }
  uint64_t size() const { return size_; }
  int fd() const { return fd_.get(); }

  // Gives every page back to the host: the guest reads zeroes (or the file, where it is private) from then on.
  Result<> discard();

 private:
  Mapping(std::byte* host, uint64_t size, bool shared, UniqueFd fd)
      : host_(host), size_(size), shared_(shared), fd_(std::move(fd)) {}

  std::byte* host_;
  uint64_t size_;
  bool shared_;
  UniqueFd fd_;
};

}  // namespace tsvmm
