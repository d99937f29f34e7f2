// A VM with its vCPUs, address spaces and trap channel, and the handlers that JavaScript gave for it. The objects that
// JavaScript holds (Vm, Vcpu, Window) share it, so that they may go in any order.
#pragma once

#include <napi.h>

#include <memory>
#include <vector>

#include "bus/trap_channel.h"
#include "kvm/vcpu.h"
#include "kvm/vm.h"
#include "napi/notifier.h"

namespace tsvmm {

// JavaScript thread, all of it.
class VmHost final : public TrapHandler {
 public:
  VmHost(Napi::Env env, Vm vm, size_t vcpu_mapping_size);
  ~VmHost() override;
  VmHost(const VmHost&) = delete;
  VmHost& operator=(const VmHost&) = delete;

  Vm& vm() { return *vm_; }
  AddressSpaces& spaces() { return *spaces_; }
  TrapChannel& channel() { return *channel_; }
  size_t xsave_size() const { return xsave_size_; }
  bool is_closed() const { return closed_; }
  // Whether a handler threw: the vCPUs do not run again.
  bool has_failed() const { return failed_; }

  void set_handlers(Napi::Object handlers, Napi::Function on_error);
  bool has_handlers() const { return !handlers_.IsEmpty(); }

  struct VcpuEntry {
    explicit VcpuEntry(TrapPort& its_port) : port(its_port) {}
    TrapPort& port;
    std::unique_ptr<Vcpu> vcpu;
    std::vector<napi_deferred> parking;  // promises of who asked it to park
  };
  // The index of the new vCPU.
  Result<size_t> create_vcpu(uint32_t id);
  VcpuEntry& vcpu(size_t index) { return *vcpus_[index]; }
  const std::vector<std::unique_ptr<VcpuEntry>>& vcpus() const { return vcpus_; }

  Result<> run(size_t index, const std::string& thread_name);
  Napi::Value park(size_t index);

  // A window's bytes stay where they are until no vCPU can see the window any more: one may be in the middle of an
  // access when it is unmapped.
  void keep_bytes(const std::shared_ptr<Window>& window, Napi::ObjectReference bytes);

  // Stops and joins every vCPU, then lets go of the VM. Idempotent.
  void close();

  uint32_t trap(const TrapRequest& request, bool& ok) override;
  void posted(const PostedWrite& write, bool& ok) override;

 private:
  void serve();
  // Comes back for posted writes after a while.
  void serve_later();
  // Of vCPUs that are parked: tells why they stopped, and resolves the promises of those who asked them to park.
  void settle();
  void resolve_parking(VcpuEntry& entry);
  void deliver_stop(size_t index, const VcpuStop& stop);
  // Calls a handler. The first error stops the machine and goes to on_error; a later one, or one of a closed machine,
  // is nobody's and so becomes an uncaught exception.
  Napi::Value call(const Napi::FunctionReference& handler, const std::initializer_list<napi_value>& arguments,
                   bool& ok);
  void fail();

  Napi::Env env_;
  std::unique_ptr<Vm> vm_;
  const size_t vcpu_mapping_size_;
  const size_t xsave_size_;
  std::shared_ptr<AddressSpaces> spaces_ = std::make_shared<AddressSpaces>();
  std::unique_ptr<Notifier> notifier_;
  std::unique_ptr<TrapChannel> channel_;
  std::vector<std::unique_ptr<VcpuEntry>> vcpus_;
  struct KeptBytes {
    std::weak_ptr<Window> window;
    Napi::ObjectReference bytes;
  };
  std::vector<KeptBytes> kept_;
  Napi::ObjectReference handlers_;
  Napi::FunctionReference read_;
  Napi::FunctionReference write_;
  Napi::FunctionReference end_of_interrupt_;
  Napi::FunctionReference stopped_;
  Napi::FunctionReference on_error_;
  Napi::FunctionReference set_timeout_;
  Napi::FunctionReference come_back_;  // serves again, when the timer goes off
  bool failed_ = false;
  bool closed_ = false;
  bool serving_later_ = false;
  // Outlives the host in timers that are still to come: nullptr once it is closed.
  std::shared_ptr<VmHost*> self_ = std::make_shared<VmHost*>(this);
};

}  // namespace tsvmm
