defmodule MQTT.RejectingTest do
  # Clients that are not let in, and what the logger is told of it.
  use MQTT.Test.Compat

  import ExUnit.CaptureLog

  alias MQTT.Test.Scripted

  test "no report has the password of a client that is not let in" do
    secret = [username: "user", password: "the secret"]

    ways = [
      fn _params, _state -> {:stop, :because} end,
      fn _params, _state -> {:error, :not_authorized} end,
      fn _params, _state -> raise "an error" end,
      fn %{client_id: "somebody"}, state -> {:ok, state} end
    ]

    for init <- ways do
      assert report(%{init: init}, connect_packet(secret)) =~ "terminating"
    end
  end

  test "nor has one what a client says in a further step" do
    init = fn _params, state -> {:continue, %{}, state} end

    ways = [
      fn _reason, _properties, _state -> raise "an error" end,
      fn :success, _properties, state -> {:ok, state} end
    ]

    for handle_auth <- ways do
      functions = %{init: init, handle_auth: handle_auth}
      properties = %{authentication_method: "m", authentication_data: "the secret"}

      connect =
        connect_packet(protocol_version: 5, password: "the secret", properties: properties)

      {:ok, auth} =
        MQTT.Packet.encode(%{type: :auth, reason_code: 0x18, properties: properties}, 5)

      assert report(functions, connect <> auth) =~
               "terminating"
    end
  end

  # What is reported of a client that is rejected.
  defp report(functions, bytes) do
    {port, opts} = serve(:listener, Scripted, Scripted.with_functions(functions))

    log =
      capture_log(fn ->
        client = open(port, opts)
        send_bytes(client, bytes)
        assert_receive {:init, pid, _}
        monitor = Process.monitor(pid)
        assert_receive {:DOWN, ^monitor, :process, _, _}
      end)

    refute log =~ "the secret"
    log
  end
end
