defmodule MQTT.Test.BrokerRules do
  @moduledoc false
  # Lets in who has the password "secret", and decides by topics and filters.

  @behaviour MQTT.Broker.Handler

  @impl true
  def authenticate(%{username: _, password: "secret"}, []), do: {:ok, :data}
  def authenticate(_client, []), do: {:error, :bad_user_name_or_password}

  @impl true
  def authorize_publish(%{data: :data} = client, message, []) do
    refute_password(client)
    if message.topic == "denied", do: {:error, :not_authorized}, else: :ok
  end

  @impl true
  def authorize_subscribe(_client, "denied", _options, []), do: {:error, :not_authorized}
  def authorize_subscribe(_client, "low", _options, []), do: {:ok, 0}
  def authorize_subscribe(_client, _filter, _options, []), do: :ok

  @impl true
  def handle_publish(_client, %{topic: "drop"}, []), do: :drop
  def handle_publish(_client, %{topic: "refuse"}, []), do: {:error, :payload_format_invalid}

  def handle_publish(client, %{topic: "change"} = message, []),
    do: {:ok, %{message | topic: "changed", payload: client.client_id <> message.payload}}

  def handle_publish(_client, _message, []), do: :ok

  defp refute_password(client), do: false = is_map_key(client, :password)
end

defmodule MQTT.Test.BrokerPauses do
  @moduledoc false
  # Lets a client in whose session is resumed when the test says `:go_on` to the process that it is told of.

  @behaviour MQTT.Broker.Handler

  @impl true
  def handle_event({:connected, :resumed}, _client, test) do
    send(test, {:resumed, self()})
    receive do: (:go_on -> :ok)
  end

  def handle_event(_event, _client, _test), do: :ok
end
