target_sources(core PRIVATE kvm/kvm.cc kvm/vm.cc kvm/dirty_tracking.cc kvm/throttle.cc kvm/vcpu.cc)
if(CMAKE_SYSTEM_PROCESSOR STREQUAL "x86_64")
  target_sources(core PRIVATE kvm/x86_64/register_files.cc kvm/x86_64/exits.cc)
endif()
