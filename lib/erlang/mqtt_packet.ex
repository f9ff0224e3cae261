defmodule :mqtt_packet do
  @moduledoc false
  @type qos :: 0 | 1 | 2
end
