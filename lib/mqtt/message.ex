defmodule MQTT.Message do
  @moduledoc """
  A message, as `MQTT.Broker` gives it to processes and handlers.

  `:retain` says whether it was retained when the subscription began, and for a handler whether it is to
  be retained. `:properties` is a map as of `MQTT.Packet`, empty before MQTT 5.0.
  """

  @enforce_keys [:topic, :payload]
  defstruct [:topic, :payload, qos: 0, retain: false, properties: %{}]

  @type t :: %__MODULE__{
          topic: String.t(),
          payload: binary,
          qos: 0..2,
          retain: boolean,
          properties: map
        }
end
