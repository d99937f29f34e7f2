//! Takes a socket and the path of a machine's configuration as JSON; prints each step and ends with 0 where every answer
//! was what a client of Cloud Hypervisor expects.

use std::error::Error;
use std::time::Duration;

use cloud_hypervisor_client::apis::{DefaultApi, Error as ApiError};
use cloud_hypervisor_client::models::{VmConfig, VmState};
use cloud_hypervisor_client::socket_based_api_client;

type Outcome = Result<(), Box<dyn Error>>;

async fn expect_state(client: &impl DefaultApi, expected: VmState) -> Outcome {
    let state = client.vm_info_get().await?.state;
    if state != expected {
        return Err(format!("the machine is {state}, not {expected}").into());
    }
    println!("{state}");
    Ok(())
}

/// A refusal has this status and a body that is an array of reasons.
fn expect_refusal<T>(answer: Result<T, ApiError>, status: u16) -> Outcome {
    match answer {
        Err(ApiError::Api(error))
            if error.code.as_u16() == status && error.body.starts_with("[\"") =>
        {
            Ok(())
        }
        Err(error) => Err(format!("refused with {error:?}, not {status}").into()),
        Ok(_) => Err("not refused".into()),
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Outcome {
    let mut arguments = std::env::args().skip(1);
    let (Some(socket), Some(config)) = (arguments.next(), arguments.next()) else {
        return Err("usage: rust-client SOCKET CONFIG".into());
    };
    let config: VmConfig = serde_json::from_str(&std::fs::read_to_string(config)?)?;
    let client = socket_based_api_client(&socket);

    let pong = client.vmm_ping_get().await?;
    println!(
        "{} {}",
        pong.version,
        pong.build_version.unwrap_or_default()
    );
    expect_refusal(client.vm_info_get().await, 404)?;
    expect_refusal(client.boot_vm().await, 404)?;

    client.create_vm(config.clone()).await?;
    expect_state(&client, VmState::Created).await?;
    expect_refusal(client.create_vm(config.clone()).await, 500)?;
    client.boot_vm().await?;
    expect_state(&client, VmState::Running).await?;
    let info = client.vm_info_get().await?;
    let disk = info
        .device_tree
        .unwrap_or_default()
        .remove("_virtio-pci-_disk0")
        .and_then(|node| node.pci_bdf);
    println!("disk at {}", disk.ok_or("the disk has no address")?);
    tokio::time::sleep(Duration::from_secs(2)).await;
    if client.vm_counters_get().await?.is_empty() {
        return Err("no counters".into());
    }
    client.pause_vm().await?;
    expect_state(&client, VmState::Paused).await?;
    expect_refusal(client.pause_vm().await, 500)?;
    client.resume_vm().await?;
    expect_state(&client, VmState::Running).await?;
    client.power_button_vm().await?;
    client.vmm_nmi_put().await?;
    client.reboot_vm().await?;
    expect_state(&client, VmState::Running).await?;
    client.shutdown_vm().await?;
    expect_state(&client, VmState::Created).await?;
    client.boot_vm().await?;
    client.delete_vm().await?;
    expect_refusal(client.vm_info_get().await, 404)?;
    client.shutdown_vmm().await?;
    println!("done");
    Ok(())
}
