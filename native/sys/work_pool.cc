#include "sys/work_pool.h"

#include <utility>

namespace tsvmm {

WorkPool::~WorkPool() {
  {
    std::lock_guard lock(mutex_);
    is_ending_ = true;
  }
  changed_.notify_all();
  threads_.clear();
}

void WorkPool::add(Work work) {
  {
    std::lock_guard lock(mutex_);
    if (waiting_.size() >= idle_ && threads_.size() < most_threads_) {
      auto thread = Thread::start({.name = name_of_(threads_.size())}, [this] { run(); });
      if (thread) threads_.push_back(std::move(thread).value());
    }
    if (!threads_.empty()) {
      waiting_.push_back(std::move(work));
      work = {};
    }
  }
  if (work) return work();
  changed_.notify_one();
}

void WorkPool::run() {
  std::unique_lock lock(mutex_);
  for (;;) {
    ++idle_;
    changed_.wait(lock, [this] { return !waiting_.empty() || is_ending_; });
    --idle_;
    if (waiting_.empty()) return;
    const auto work = std::move(waiting_.front());
    waiting_.pop_front();
    lock.unlock();
    work();
    lock.lock();
  }
}

}  // namespace tsvmm
