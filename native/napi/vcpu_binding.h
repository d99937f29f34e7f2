#pragma once

#include <napi.h>

#include <memory>

#include "napi/vm_host.h"

namespace tsvmm {

class VcpuBinding : public Napi::ObjectWrap<VcpuBinding> {
 public:
  static void define(Napi::Env env);
  static Napi::Value make(Napi::Env env, std::shared_ptr<VmHost> host, size_t index);
  explicit VcpuBinding(const Napi::CallbackInfo& info) : ObjectWrap(info) {}

 private:
  void run(const Napi::CallbackInfo& info);
  Napi::Value park(const Napi::CallbackInfo& info);
  Napi::Value is_parked(const Napi::CallbackInfo& info);
  Napi::Value get_registers(const Napi::CallbackInfo& info);
  void set_registers(const Napi::CallbackInfo& info);
  void set_cpuid(const Napi::CallbackInfo& info);
  Napi::Value get_msrs(const Napi::CallbackInfo& info);
  void set_msrs(const Napi::CallbackInfo& info);
  Napi::Value tsc_kilohertz(const Napi::CallbackInfo& info);
  void set_tsc_kilohertz(const Napi::CallbackInfo& info);
  Napi::Value tsc_offset(const Napi::CallbackInfo& info);
  void set_tsc_offset(const Napi::CallbackInfo& info);
  void notify_paused(const Napi::CallbackInfo& info);
  void inject_nmi(const Napi::CallbackInfo& info);
  void set_affinity(const Napi::CallbackInfo& info);
  void throttle(const Napi::CallbackInfo& info);

  // The vCPU where the VM is open; throws otherwise. parked_vcpu() also throws while it runs.
  Vcpu* open_vcpu(Napi::Env env) const;
  Vcpu* parked_vcpu(Napi::Env env) const;

  std::shared_ptr<VmHost> host_;
  size_t index_ = 0;
};

}  // namespace tsvmm
