// One vCPU and the thread that runs it.
#pragma once

#include <atomic>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "bus/address_space.h"
#include "bus/trap_channel.h"
#include "kvm/kvm_api.h"
#include "kvm/throttle.h"
#include "sys/result.h"
#include "sys/thread.h"
#include "sys/unique_fd.h"

namespace tsvmm {

// The kvm_run structure that a vCPU shares with the kernel.
class RunMapping {
 public:
  static Result<RunMapping> create(int vcpu_fd, size_t size);
  RunMapping(RunMapping&& other) noexcept;
  RunMapping& operator=(RunMapping&&) = delete;
  ~RunMapping();
  kvm_run& get() const { return *run_; }

 private:
  RunMapping(kvm_run* run, size_t size) : run_(run), size_(size) {}
  kvm_run* run_;
  size_t size_;
};

// The guest's address spaces, shared by all vCPUs of a VM.
struct AddressSpaces {
  AddressSpace pio;
  AddressSpace mmio;
};

class Vcpu {
 public:
  // `on_change` is called from the vCPU's thread each time it has parked itself, asked to or not.
  Vcpu(UniqueFd fd, RunMapping run, TrapPort& port, std::shared_ptr<AddressSpaces> spaces,
       std::function<void()> on_change);
  // Joins the thread. The trap channel must be shut by then.
  ~Vcpu();
  Vcpu(const Vcpu&) = delete;
  Vcpu& operator=(const Vcpu&) = delete;

  // Registers may be touched through it while is_parked().
  int fd() const { return fd_.get(); }

  // Any thread, all of them. run() has no effect after a stop that nobody took.
  Result<> run(const std::string& thread_name);
  void request_park();
  bool is_parked() const;
  // The reason why it parked itself, once and not before it is parked.
  std::optional<VcpuStop> take_stop();
  Result<> set_affinity(std::vector<unsigned> host_cpus);
  // From now on it does not run for so many percent of the time; EINVAL beyond kMostThrottlePercent.
  Result<> throttle(unsigned percent);

 private:
  enum class Wish { kPark, kRun, kExit };

  void thread_main();
  void run_guest();
  // Lets KVM finish the instruction that the last exit belongs to, without entering the guest.
  std::optional<VcpuStop> complete_pending_access();
  std::optional<VcpuStop> answer_exit();
  void refresh_tables();
  void sleep_when_due();
  Wish wait_for_wish();
  void kick();

  const UniqueFd fd_;
  RunMapping run_;
  TrapPort& port_;
  const std::shared_ptr<AddressSpaces> spaces_;
  const std::function<void()> on_change_;

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::atomic<Wish> wish_ = Wish::kPark;  // written under mutex_
  bool parked_ = true;                    // under mutex_: the thread waits, or there is none
  std::optional<VcpuStop> stop_;          // under mutex_
  std::vector<unsigned> host_cpus_;       // under mutex_
  std::optional<Thread> thread_;          // under mutex_

  Throttle throttle_;

  // vCPU thread only
  std::shared_ptr<const WindowTable> pio_;
  std::shared_ptr<const WindowTable> mmio_;
  uint64_t pio_generation_ = 0;
  uint64_t mmio_generation_ = 0;
};

}  // namespace tsvmm
