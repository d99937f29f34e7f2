#include "napi/vcpu_binding.h"

#include <sys/ioctl.h>

#include <algorithm>
#include <cstring>

#include "kvm/kvm.h"
#include "kvm/register_files.h"
#include "napi/addon_data.h"
#include "napi/arguments.h"

namespace tsvmm {

namespace {

template <typename Argument>
bool control(Napi::Env env, int fd, unsigned long request, Argument argument, const char* operation) {
  if (ioctl(fd, request, argument) >= 0) return true;
  throw_failure(env, last_failure(operation));
  return false;
}

// Of the counter that the guest reads, to the 64-bit word at `offset`.
kvm_device_attr tsc_offset_attribute(uint64_t* offset) {
  kvm_device_attr attribute{};
#if defined(__x86_64__)
  attribute.group = KVM_VCPU_TSC_CTRL;
  attribute.attr = KVM_VCPU_TSC_OFFSET;
#else
  attribute.group = UINT32_MAX;
#endif
  attribute.addr = reinterpret_cast<uintptr_t>(offset);
  return attribute;
}

const RegisterFile* read_file(Napi::Value value) {
  const auto name = read_string(value, "file");
  if (!name) return nullptr;
  const auto* file = find_register_file(*name);
  if (file == nullptr) Napi::RangeError::New(value.Env(), "no such register file").ThrowAsJavaScriptException();
  return file;
}

}  // namespace

void VcpuBinding::define(Napi::Env env) {
  using Self = VcpuBinding;
  auto constructor = DefineClass(
      env, "Vcpu",
      {InstanceMethod<&Self::run>("run"), InstanceMethod<&Self::park>("park"),
       InstanceAccessor<&Self::is_parked>("isParked"), InstanceMethod<&Self::get_registers>("getRegisters"),
       InstanceMethod<&Self::set_registers>("setRegisters"), InstanceMethod<&Self::set_cpuid>("setCpuid"),
       InstanceMethod<&Self::get_msrs>("getMsrs"), InstanceMethod<&Self::set_msrs>("setMsrs"),
       InstanceMethod<&Self::tsc_kilohertz>("tscKilohertz"),
       InstanceMethod<&Self::set_tsc_kilohertz>("setTscKilohertz"), InstanceMethod<&Self::tsc_offset>("tscOffset"),
       InstanceMethod<&Self::set_tsc_offset>("setTscOffset"), InstanceMethod<&Self::notify_paused>("notifyPaused"),
       InstanceMethod<&Self::inject_nmi>("injectNmi"), InstanceMethod<&Self::set_affinity>("setAffinity"),
       InstanceMethod<&Self::throttle>("throttle")});
  addon_data(env).vcpu = Napi::Persistent(constructor);
}

Napi::Value VcpuBinding::make(Napi::Env env, std::shared_ptr<VmHost> host, size_t index) {
  auto object = addon_data(env).vcpu.New({});
  if (env.IsExceptionPending()) return env.Undefined();
  auto* binding = Unwrap(object);
  binding->host_ = std::move(host);
  binding->index_ = index;
  return object;
}

Vcpu* VcpuBinding::open_vcpu(Napi::Env env) const {
  if (host_ && !host_->is_closed()) return host_->vcpu(index_).vcpu.get();
  throw_closed(env, "Vcpu");
  return nullptr;
}

Vcpu* VcpuBinding::parked_vcpu(Napi::Env env) const {
  auto* vcpu = open_vcpu(env);
  if (vcpu == nullptr || vcpu->is_parked()) return vcpu;
  Napi::Error::New(env, "the vCPU is running").ThrowAsJavaScriptException();
  return nullptr;
}

void VcpuBinding::run(const Napi::CallbackInfo& info) {
  if (open_vcpu(info.Env()) == nullptr) return;
  const auto name = read_string(info[0], "threadName");
  if (!name) return;
  if (!host_->vcpu(index_).parking.empty()) {
    Napi::Error::New(info.Env(), "the vCPU is being parked").ThrowAsJavaScriptException();
    return;
  }
  if (!host_->has_handlers() || host_->has_failed()) {
    Napi::Error::New(info.Env(), host_->has_failed() ? "a trap handler has failed" : "there are no trap handlers")
        .ThrowAsJavaScriptException();
    return;
  }
  if (const auto running = host_->run(index_, *name); !running) throw_failure(info.Env(), running.failure());
}

Napi::Value VcpuBinding::park(const Napi::CallbackInfo& info) {
  if (open_vcpu(info.Env()) == nullptr) return info.Env().Undefined();
  return host_->park(index_);
}

Napi::Value VcpuBinding::is_parked(const Napi::CallbackInfo& info) {
  const auto* vcpu = open_vcpu(info.Env());
  return Napi::Boolean::New(info.Env(), vcpu != nullptr && vcpu->is_parked());
}

Napi::Value VcpuBinding::get_registers(const Napi::CallbackInfo& info) {
  const auto env = info.Env();
  const auto* vcpu = parked_vcpu(env);
  if (vcpu == nullptr) return env.Undefined();
  const auto* file = read_file(info[0]);
  if (file == nullptr) return env.Undefined();
  const auto bytes = tsvmm::get_registers(vcpu->fd(), *file, host_->xsave_size());
  if (!bytes) return throw_failure(env, bytes.failure()), env.Undefined();
  return copy_bytes(env, bytes.value());
}

void VcpuBinding::set_registers(const Napi::CallbackInfo& info) {
  const auto* vcpu = parked_vcpu(info.Env());
  if (vcpu == nullptr) return;
  const auto* file = read_file(info[0]);
  if (file == nullptr) return;
  const auto bytes = read_bytes(info[1], "bytes");
  if (!bytes) return;
  const auto set = tsvmm::set_registers(vcpu->fd(), *file, *bytes, host_->xsave_size());
  if (!set) throw_failure(info.Env(), set.failure());
}

void VcpuBinding::set_cpuid(const Napi::CallbackInfo& info) {
#if defined(__x86_64__)
  const auto* vcpu = parked_vcpu(info.Env());
  if (vcpu == nullptr) return;
  const auto bytes = read_bytes(info[0], "entries");
  if (!bytes) return;
  if (bytes->size() % sizeof(kvm_cpuid_entry2) != 0) return throw_failure(info.Env(), {EINVAL, "KVM_SET_CPUID2"});
  // The header is as long as one word: a count and padding.
  std::vector<uint64_t> table(1 + bytes->size() / sizeof(uint64_t));
  reinterpret_cast<kvm_cpuid2*>(table.data())->nent = static_cast<uint32_t>(bytes->size() / sizeof(kvm_cpuid_entry2));
  std::ranges::copy(*bytes, reinterpret_cast<uint8_t*>(table.data() + 1));
  control(info.Env(), vcpu->fd(), KVM_SET_CPUID2, table.data(), "KVM_SET_CPUID2");
#else
  throw_failure(info.Env(), {ENOTSUP, "KVM_SET_CPUID2"});
#endif
}

Napi::Value VcpuBinding::get_msrs(const Napi::CallbackInfo& info) {
  const auto env = info.Env();
  const auto* vcpu = parked_vcpu(env);
  if (vcpu == nullptr) return env.Undefined();
  const auto indices = read_words<uint32_t>(info[0], "indices");
  if (!indices) return env.Undefined();
  const auto values = tsvmm::get_msrs(vcpu->fd(), *indices, "KVM_GET_MSRS");
  if (!values) return throw_failure(env, values.failure()), env.Undefined();
  return copy_words(env, values.value());
}

void VcpuBinding::set_msrs(const Napi::CallbackInfo& info) {
#if defined(__x86_64__)
  const auto env = info.Env();
  const auto* vcpu = parked_vcpu(env);
  if (vcpu == nullptr) return;
  const auto indices = read_words<uint32_t>(info[0], "indices");
  if (!indices) return;
  const auto values = read_words<uint64_t>(info[1], "values");
  if (!values) return;
  if (values->size() != indices->size()) return throw_failure(env, {EINVAL, "KVM_SET_MSRS"});
  std::vector<uint64_t> storage((sizeof(kvm_msrs) + indices->size() * sizeof(kvm_msr_entry)) / sizeof(uint64_t));
  auto* msrs = reinterpret_cast<kvm_msrs*>(storage.data());
  msrs->nmsrs = static_cast<uint32_t>(indices->size());
  for (size_t number = 0; number < indices->size(); ++number) {
    msrs->entries[number].index = (*indices)[number];
    msrs->entries[number].data = (*values)[number];
  }
  const int set = ioctl(vcpu->fd(), KVM_SET_MSRS, msrs);
  if (set < 0) return throw_failure(env, last_failure("KVM_SET_MSRS"));
  if (static_cast<size_t>(set) < indices->size()) {
    auto error = make_failure(env, {EINVAL, "KVM_SET_MSRS"});
    error.Set("msr", Napi::Number::New(env, (*indices)[static_cast<size_t>(set)]));
    error.ThrowAsJavaScriptException();
  }
#else
  throw_failure(info.Env(), {ENOTSUP, "KVM_SET_MSRS"});
#endif
}

Napi::Value VcpuBinding::tsc_kilohertz(const Napi::CallbackInfo& info) {
  const auto env = info.Env();
  const auto* vcpu = open_vcpu(env);
  if (vcpu == nullptr) return env.Undefined();
  const int kilohertz = ioctl(vcpu->fd(), KVM_GET_TSC_KHZ, 0);
  if (kilohertz < 0) return throw_failure(env, last_failure("KVM_GET_TSC_KHZ")), env.Undefined();
  return Napi::Number::New(env, kilohertz);
}

void VcpuBinding::set_tsc_kilohertz(const Napi::CallbackInfo& info) {
  const auto* vcpu = parked_vcpu(info.Env());
  if (vcpu == nullptr) return;
  const auto kilohertz = read_uint(info[0], "kilohertz", UINT32_MAX);
  if (kilohertz) control(info.Env(), vcpu->fd(), KVM_SET_TSC_KHZ, *kilohertz, "KVM_SET_TSC_KHZ");
}

Napi::Value VcpuBinding::tsc_offset(const Napi::CallbackInfo& info) {
  const auto env = info.Env();
  const auto* vcpu = parked_vcpu(env);
  if (vcpu == nullptr) return env.Undefined();
  uint64_t offset = 0;
  const auto attribute = tsc_offset_attribute(&offset);
  if (ioctl(vcpu->fd(), KVM_GET_DEVICE_ATTR, &attribute) == 0) return Napi::BigInt::New(env, offset);
  // Kernels before 5.16, and architectures without such a counter.
  if (errno != ENXIO && errno != ENOTTY && errno != EINVAL) throw_failure(env, last_failure("KVM_GET_DEVICE_ATTR"));
  return env.Undefined();
}

void VcpuBinding::set_tsc_offset(const Napi::CallbackInfo& info) {
  const auto env = info.Env();
  const auto* vcpu = parked_vcpu(env);
  if (vcpu == nullptr) return;
  if (!info[0].IsBigInt()) {
    Napi::TypeError::New(env, "offset must be a bigint").ThrowAsJavaScriptException();
    return;
  }
  bool lossless = false;
  uint64_t offset = info[0].As<Napi::BigInt>().Uint64Value(&lossless);
  if (!lossless) return throw_failure(env, {EINVAL, "KVM_SET_DEVICE_ATTR"});
  auto attribute = tsc_offset_attribute(&offset);
  control(env, vcpu->fd(), KVM_SET_DEVICE_ATTR, &attribute, "KVM_SET_DEVICE_ATTR");
}

void VcpuBinding::notify_paused(const Napi::CallbackInfo& info) {
  const auto* vcpu = parked_vcpu(info.Env());
  if (vcpu == nullptr) return;
  // EINVAL: the guest has not turned the clock on, and has nothing to be told.
  if (ioctl(vcpu->fd(), KVM_KVMCLOCK_CTRL, 0) == 0 || errno == EINVAL) return;
  throw_failure(info.Env(), last_failure("KVM_KVMCLOCK_CTRL"));
}

void VcpuBinding::inject_nmi(const Napi::CallbackInfo& info) {
  const auto* vcpu = parked_vcpu(info.Env());
  if (vcpu != nullptr) control(info.Env(), vcpu->fd(), KVM_NMI, 0, "KVM_NMI");
}

void VcpuBinding::throttle(const Napi::CallbackInfo& info) {
  auto* vcpu = open_vcpu(info.Env());
  if (vcpu == nullptr) return;
  const auto percent = read_uint(info[0], "percent", kMostThrottlePercent);
  if (!percent) return;
  if (const auto set = vcpu->throttle(static_cast<unsigned>(*percent)); !set) throw_failure(info.Env(), set.failure());
}

void VcpuBinding::set_affinity(const Napi::CallbackInfo& info) {
  auto* vcpu = open_vcpu(info.Env());
  if (vcpu == nullptr) return;
  if (!info[0].IsArray()) {
    Napi::TypeError::New(info.Env(), "hostCpus must be an array").ThrowAsJavaScriptException();
    return;
  }
  const auto array = info[0].As<Napi::Array>();
  std::vector<unsigned> host_cpus;
  for (uint32_t index = 0; index < array.Length(); ++index) {
    const auto cpu = read_uint(array.Get(index), "hostCpu", UINT32_MAX);
    if (!cpu) return;
    host_cpus.push_back(static_cast<unsigned>(*cpu));
  }
  if (const auto set = vcpu->set_affinity(std::move(host_cpus)); !set) throw_failure(info.Env(), set.failure());
}

}  // namespace tsvmm
