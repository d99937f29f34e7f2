// Threads for work that blocks: as many as there is work at a time, up to a limit.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <string>
#include <vector>

#include "sys/thread.h"

namespace tsvmm {

class WorkPool {
 public:
  using Work = std::function<void()>;

  // Threads have numbers from 0 on, and names by them.
  WorkPool(std::function<std::string(size_t number)> name_of, size_t most_threads)
      : name_of_(std::move(name_of)), most_threads_(most_threads) {}
  // Waits for all of it.
  ~WorkPool();
  WorkPool(const WorkPool&) = delete;
  WorkPool& operator=(const WorkPool&) = delete;

  // Any thread. Done here where the host has no thread for it.
  void add(Work work);

 private:
  void run();

  const std::function<std::string(size_t number)> name_of_;
  const size_t most_threads_;
  std::mutex mutex_;  // guards those below
  std::condition_variable changed_;
  std::deque<Work> waiting_;
  size_t idle_ = 0;
  bool is_ending_ = false;
  std::vector<Thread> threads_;
};

}  // namespace tsvmm
