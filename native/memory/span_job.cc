#include "memory/span_job.h"

#include <mutex>
#include <optional>
#include <vector>

#include "sys/thread.h"

namespace tsvmm {

Result<> for_each_span(SpanJob& job, unsigned threads, uint64_t spans,
                       const std::function<Result<>(unsigned worker, uint64_t span)>& work) {
  std::atomic<uint64_t> next = 0;
  std::atomic<bool> is_stopped = false;
  std::mutex mutex;
  std::optional<Failure> first_failure;
  const auto fail = [&](Failure failure) {
    std::lock_guard lock(mutex);
    if (!first_failure) first_failure = failure;
    is_stopped = true;
  };
  const auto run = [&](unsigned worker) {
    while (!is_stopped) {
      if (job.is_cancelled) return fail({ECANCELED, "memory image"});
      const auto span = next.fetch_add(1);
      if (span >= spans) return;
      if (auto worked = work(worker, span); !worked) return fail(worked.failure());
    }
  };
  {
    std::vector<Thread> others;
    for (unsigned worker = 1; worker < threads && worker < spans; ++worker) {
      auto started = Thread::start({"memory-image"}, [&run, worker] { run(worker); });
      // With fewer it takes longer.
      if (!started) break;
      others.push_back(std::move(started).value());
    }
    run(0);
  }
  if (first_failure) return *first_failure;
  return Unit{};
}

}  // namespace tsvmm
