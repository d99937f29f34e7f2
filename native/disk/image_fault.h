// What is found wrong with an image while a guest uses it.
#pragma once

#include <cerrno>
#include <mutex>
#include <string>
#include <utility>

namespace tsvmm {

// Any thread.
class ImageFault {
 public:
  // Returns -EIO, what the guest gets of it. The first one is kept: others follow from it.
  int report(std::string reason) {
    std::lock_guard lock(mutex_);
    if (!std::exchange(is_reported_, true)) reason_ = std::move(reason);
    return -EIO;
  }
  // Once; empty where there is none.
  std::string take() {
    std::lock_guard lock(mutex_);
    return std::exchange(reason_, {});
  }

 private:
  std::mutex mutex_;
  bool is_reported_ = false;
  std::string reason_;
};

}  // namespace tsvmm
