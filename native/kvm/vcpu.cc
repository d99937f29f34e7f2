#include "kvm/vcpu.h"

#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include <utility>

#include "kvm/exits.h"

namespace tsvmm {

namespace {

// Gets a vCPU thread out of KVM_RUN. The handler does nothing: the interruption is the message.
int kick_signal() {
  static const int number = [] {
    struct sigaction action {};
    action.sa_handler = [](int) {};
    sigaction(SIGRTMIN + 1, &action, nullptr);
    return SIGRTMIN + 1;
  }();
  return number;
}

void set_immediate_exit(kvm_run& run, uint8_t value) {
  std::atomic_ref(run.immediate_exit).store(value, std::memory_order_seq_cst);
}

VcpuStop internal_error(const kvm_run& run) {
  VcpuStop stop{VcpuStop::Kind::kInternalError, {run.internal.suberror}};
  constexpr uint32_t kMostData = 16;
  for (uint32_t index = 0; index < run.internal.ndata && index < kMostData; ++index) {
    stop.detail.push_back(run.internal.data[index]);
  }
  return stop;
}

}  // namespace

std::optional<VcpuStop> handle_exit(kvm_run& run, const ExitContext& context) {
  using Kind = VcpuStop::Kind;
  switch (run.exit_reason) {
    case KVM_EXIT_MMIO: {
      // The kernel never reports more than its own array holds.
      const auto length = run.mmio.len <= sizeof(run.mmio.data) ? run.mmio.len : sizeof(run.mmio.data);
      if (run.mmio.is_write != 0) {
        access_write(context.mmio, run.mmio.phys_addr, {run.mmio.data, length}, context.port, context.port.counters());
      } else {
        access_read(context.mmio, run.mmio.phys_addr, {run.mmio.data, length}, context.port, context.port.counters());
      }
      return {};
    }
    case KVM_EXIT_INTR:
      return {};
    case KVM_EXIT_SHUTDOWN:
      return VcpuStop{Kind::kShutdown, {}};
    case KVM_EXIT_INTERNAL_ERROR:
      return internal_error(run);
    case KVM_EXIT_FAIL_ENTRY:
      return VcpuStop{Kind::kFailEntry, {run.fail_entry.hardware_entry_failure_reason, run.fail_entry.cpu}};
    case KVM_EXIT_SYSTEM_EVENT:
      return VcpuStop{Kind::kSystemEvent, {run.system_event.type}};
    default:
      return handle_architecture_exit(run, context);
  }
}

Result<RunMapping> RunMapping::create(int vcpu_fd, size_t size) {
  auto* mapped = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu_fd, 0);
  if (mapped == MAP_FAILED) return last_failure("mmap vCPU");
  return RunMapping(static_cast<kvm_run*>(mapped), size);
}

RunMapping::RunMapping(RunMapping&& other) noexcept : run_(std::exchange(other.run_, nullptr)), size_(other.size_) {}

RunMapping::~RunMapping() {
  if (run_ != nullptr) munmap(run_, size_);
}

Vcpu::Vcpu(UniqueFd fd, RunMapping run, TrapPort& port, std::shared_ptr<AddressSpaces> spaces,
           std::function<void()> on_change)
    : fd_(std::move(fd)),
      run_(std::move(run)),
      port_(port),
      spaces_(std::move(spaces)),
      on_change_(std::move(on_change)) {}

Vcpu::~Vcpu() {
  std::optional<Thread> thread;
  {
    std::lock_guard lock(mutex_);
    wish_ = Wish::kExit;
    kick();
    changed_.notify_all();
    if (thread_) thread.emplace(std::move(*thread_));
  }
  // Joined without the lock, which the thread takes on its way out.
}

Result<> Vcpu::run(const std::string& thread_name) {
  std::lock_guard lock(mutex_);
  if (wish_ == Wish::kExit || stop_) return Unit{};
  if (!thread_) {
    auto started = Thread::start({thread_name, host_cpus_, kick_signal()}, [this] { thread_main(); });
    if (!started) return started.failure();
    thread_.emplace(std::move(started).value());
  }
  wish_ = Wish::kRun;
  changed_.notify_all();
  return Unit{};
}

void Vcpu::request_park() {
  std::lock_guard lock(mutex_);
  if (wish_ != Wish::kRun) return;
  wish_ = Wish::kPark;
  // A thread that has not yet seen the wish to run stays where it is and says nothing.
  if (parked_) return on_change_();
  kick();
  changed_.notify_all();
}

bool Vcpu::is_parked() const {
  std::lock_guard lock(mutex_);
  return parked_ && wish_ != Wish::kRun;
}

std::optional<VcpuStop> Vcpu::take_stop() {
  std::lock_guard lock(mutex_);
  if (!parked_) return {};
  return std::exchange(stop_, std::nullopt);
}

Result<> Vcpu::set_affinity(std::vector<unsigned> host_cpus) {
  std::lock_guard lock(mutex_);
  if (thread_) {
    if (auto set = thread_->set_host_cpus(host_cpus); !set) return set;
  }
  host_cpus_ = std::move(host_cpus);
  return Unit{};
}

Result<> Vcpu::throttle(unsigned percent) {
  if (percent > kMostThrottlePercent) return Failure{EINVAL, "throttle vCPU"};
  std::lock_guard lock(mutex_);
  throttle_.set(percent);
  // So that it is noticed by a guest that leaves for nothing else.
  kick();
  changed_.notify_all();
  return Unit{};
}

void Vcpu::kick() {
  set_immediate_exit(run_.get(), 1);
  if (thread_) thread_->send(kick_signal());
}

Vcpu::Wish Vcpu::wait_for_wish() {
  std::unique_lock lock(mutex_);
  if (!parked_) {
    parked_ = true;
    on_change_();
  }
  changed_.wait(lock, [this] { return wish_ != Wish::kPark; });
  parked_ = false;
  return wish_;
}

void Vcpu::thread_main() {
  while (wait_for_wish() == Wish::kRun) run_guest();
}

void Vcpu::refresh_tables() {
  // The generation is read first: a table newer than it only costs one more look next time.
  if (const auto now = spaces_->pio.generation(); now != pio_generation_) {
    pio_generation_ = now;
    pio_ = spaces_->pio.table();
  }
  if (const auto now = spaces_->mmio.generation(); now != mmio_generation_) {
    mmio_generation_ = now;
    mmio_ = spaces_->mmio.table();
  }
}

std::optional<VcpuStop> Vcpu::answer_exit() {
  refresh_tables();
  return handle_exit(run_.get(), {*pio_, *mmio_, port_});
}

std::optional<VcpuStop> Vcpu::complete_pending_access() {
  for (;;) {
    set_immediate_exit(run_.get(), 1);
    if (ioctl(fd_.get(), KVM_RUN, 0) != 0) {
      if (errno == EINTR || errno == EAGAIN) return {};
      return VcpuStop{VcpuStop::Kind::kRunError, {static_cast<uint64_t>(errno)}};
    }
    // One instruction can ask for several accesses, one after the other: an unaligned one that crosses a page does.
    if (auto stop = answer_exit()) return stop;
  }
}

void Vcpu::sleep_when_due() {
  const auto pause = throttle_.pause();
  if (pause == pause.zero()) return;
  std::unique_lock lock(mutex_);
  changed_.wait_for(lock, pause, [this] { return wish_ != Wish::kRun || throttle_.is_off(); });
}

void Vcpu::run_guest() {
  auto& run = run_.get();
  bool pending_access = false;
  std::optional<VcpuStop> stop;
  while (wish_.load(std::memory_order_seq_cst) == Wish::kRun && !stop) {
    throttle_.begin(kick_signal());
    if (ioctl(fd_.get(), KVM_RUN, 0) != 0) {
      pending_access = false;
      // EAGAIN: a vCPU that waits for its start-up message was kicked.
      if (errno != EINTR && errno != EAGAIN) {
        stop = VcpuStop{VcpuStop::Kind::kRunError, {static_cast<uint64_t>(errno)}};
        break;
      }
      // Cleared before the wish is looked at again: whoever changes it sets this afterwards.
      set_immediate_exit(run, 0);
      sleep_when_due();
      continue;
    }
    pending_access = true;
    stop = answer_exit();
  }
  if (pending_access && !stop) stop = complete_pending_access();
  if (!stop) return;
  std::lock_guard lock(mutex_);
  stop_ = std::move(stop);
  if (wish_ == Wish::kRun) wish_ = Wish::kPark;
}

}  // namespace tsvmm
